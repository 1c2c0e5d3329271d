"""What the in-process cache adds: a synchronous look-up, what is prepared from a verdict, and a bound."""

from __future__ import annotations

import tracemalloc
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.examples import a_key, a_verdict
from keystile.adapters.memory.cache import InProcessVerdictCache
from keystile.verdicts import Verdict

if TYPE_CHECKING:
    from keystile.keys import ApiKey

KEYS = [a_key() for _ in range(8)]
MOST = 4


@pytest.fixture
def cache() -> InProcessVerdictCache:
    return InProcessVerdictCache(timedelta(minutes=1))


async def test_get_and_peek_agree(cache: InProcessVerdictCache) -> None:
    """What was put by the key is there by its name, and the other way round."""
    one, other = KEYS[:2]
    await cache.put(one, a_verdict(one))
    cache.keep(other.name, a_verdict(other))
    for key in (one, other):
        assert cache.peek(key.name) == (await cache.get(key)).verdict == a_verdict(key)


def test_verdict_is_gone_after_its_time() -> None:
    """At the end of its time a verdict is found by no way."""
    now = 0.0
    cache = InProcessVerdictCache(timedelta(seconds=60), ticks=lambda: now)
    key = KEYS[0]
    cache.keep(key.name, a_verdict(key))
    now = 59.9
    assert cache.peek(key.name) is not None
    now = 60.0
    assert cache.peek(key.name) is None


@given(kept=st.lists(st.sampled_from(KEYS), max_size=40))
def test_the_oldest_verdict_is_pushed_out_first(kept: list[ApiKey]) -> None:
    """A full cache holds the latest verdicts, however often and in which order they came."""
    cache, model = InProcessVerdictCache(timedelta(minutes=1), max_entries=MOST), dict[bytes, Verdict]()
    for key in kept:
        cache.keep(key.name, a_verdict(key))
        model.pop(key.name, None)
        model[key.name] = a_verdict(key)
        model = dict(list(model.items())[-MOST:])
        for each in KEYS:
            assert cache.peek(each.name) == model.get(each.name)
    assert len(cache) == len(model)


def test_a_cache_of_no_entries_keeps_nothing() -> None:
    """With `KEYSTILE_CACHE_ENTRIES=0` every verdict comes from elsewhere."""
    cache = InProcessVerdictCache(timedelta(minutes=1), max_entries=0)
    cache.keep(KEYS[0].name, a_verdict(KEYS[0]))
    assert cache.known(KEYS[0].name) is None
    assert len(cache) == 0


def test_a_new_verdict_inherits_nothing_from_the_one_before(cache: InProcessVerdictCache) -> None:
    """What was judged and prepared from a verdict ends with it."""
    key = KEYS[0]
    cache.keep(key.name, a_verdict(key))
    known = cache.known(key.name)
    assert known is not None
    known.version, known.stands_until, known.answer_until, known.audited_until = 1, 1e9, 1e9, 7.0
    cache.keep(key.name, a_verdict(key))
    newer = cache.known(key.name)
    assert newer is not None
    assert (newer.version, newer.stands_until, newer.answer_until) == (-1, 0.0, 0.0)
    assert newer.audited_until == 7.0  # but the minute of the audit log goes on


def test_hundred_thousand_verdicts_fit_into_400_megabytes() -> None:
    """The memory of a full cache stays within its bound, measured on verdicts read back from text."""
    key, count = KEYS[0], 2_000
    text = a_verdict(key).to_text()
    cache = InProcessVerdictCache(timedelta(minutes=1))
    tracemalloc.start()
    for number in range(count):
        read = text.replace(key.tag, f"{number:012}").replace("owner-1", f"owner-{number:036}")
        cache.keep(number.to_bytes(32), Verdict.from_text(read))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used / count * 100_000 < 400e6
