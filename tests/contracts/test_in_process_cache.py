"""What the in-process cache adds: a synchronous look-up, ways to forget, and a bound on what it holds."""

from __future__ import annotations

import tracemalloc
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.examples import a_key, a_verdict
from keystile.adapters.memory.cache import InProcessVerdictCache
from keystile.keys import ApiKey
from keystile.verdicts import Verdict

KEYS = [a_key() for _ in range(8)]
OWNERS = ["owner-1", "owner-2", "owner-3"]
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
    assert cache.of_key(key.tag) is None


def test_both_secrets_of_a_key_are_forgotten_together(cache: InProcessVerdictCache) -> None:
    """A key that is being rotated has two names; dropping it drops both."""
    key = KEYS[0]
    cache.keep(b"old secret", a_verdict(key))
    cache.keep(b"new secret", a_verdict(key, gen=2))
    assert cache.of_key(key.tag) is not None
    cache.drop_key(key.tag)
    assert cache.peek(b"old secret") is cache.peek(b"new secret") is cache.of_key(key.tag) is None


_keep = st.tuples(st.sampled_from(KEYS), st.sampled_from(OWNERS))
_operations = st.lists(st.one_of(_keep, st.sampled_from(KEYS), st.sampled_from(OWNERS), st.none()), max_size=40)


@given(operations=_operations)
def test_every_way_to_a_verdict_tells_the_same(operations: list[tuple[ApiKey, str] | ApiKey | str | None]) -> None:
    """Whatever is kept, dropped and pushed out, look-ups by name and by key agree, and nothing is left over."""
    cache, model = InProcessVerdictCache(timedelta(minutes=1), max_entries=MOST), dict[str, Verdict]()
    for operation in operations:
        apply(operation, cache)
        model = expected(operation, model)
        for key in KEYS:
            assert cache.of_key(key.tag) == cache.peek(key.name) == model.get(key.tag)
    assert len(cache) == len(model)
    for owner_id in OWNERS:
        cache.drop_owner(owner_id)
    assert len(cache) == 0


def apply(operation: tuple[ApiKey, str] | ApiKey | str | None, cache: InProcessVerdictCache) -> None:
    """Keep a key of an owner, drop a key, drop an owner, or clear."""
    match operation:
        case (key, owner_id):
            cache.keep(key.name, a_verdict(key, owner_id=owner_id))
        case ApiKey():
            cache.drop_key(operation.tag)
        case str():
            cache.drop_owner(operation)
        case None:
            cache.clear()


def expected(operation: tuple[ApiKey, str] | ApiKey | str | None, model: dict[str, Verdict]) -> dict[str, Verdict]:
    """Return what is left after the same: by key id, the oldest first."""
    match operation:
        case (key, owner_id):
            others = {tag: verdict for tag, verdict in model.items() if tag != key.tag}
            latest = list(others.items())[-(MOST - 1) :]
            return {**dict(latest), key.tag: a_verdict(key, owner_id=owner_id)}
        case ApiKey():
            return {tag: verdict for tag, verdict in model.items() if tag != operation.tag}
        case str():
            return {tag: verdict for tag, verdict in model.items() if verdict.owner.id != operation}
        case None:
            return {}


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
