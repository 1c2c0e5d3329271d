"""What every verdict cache promises."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.examples import LATER, PEPPERS, a_key, a_kill, a_verdict, an_older_key, highest
from keystile.adapters.memory.cache import InProcessVerdictCache
from keystile.adapters.memory.log import InProcessChangeLog
from keystile.adapters.redis.cache import RedisVerdictCache
from keystile.adapters.redis.log import RedisChangeLog
from keystile.ports import Cached, ChangeLog, VerdictCache

if TYPE_CHECKING:
    from keystile.adapters.redis.link import RedisLink

TTL = timedelta(minutes=15)


@dataclass
class Caches:
    """A cache, and the log whose floors it tells of."""

    cache: VerdictCache
    log: ChangeLog


@pytest.fixture(params=["in_process", "redis"])
def caches(request: pytest.FixtureRequest) -> Caches:
    if request.param == "in_process":
        log = InProcessChangeLog()
        return Caches(InProcessVerdictCache(TTL, floors=log.floors), log)
    link: RedisLink = request.getfixturevalue("link")
    cache = RedisVerdictCache(link, PEPPERS, TTL, on_tampering=pytest.fail)
    return Caches(cache, RedisChangeLog(link, PEPPERS))


@pytest.fixture
def cache(caches: Caches) -> VerdictCache:
    return caches.cache


async def test_verdict_comes_back_as_it_was(cache: VerdictCache) -> None:
    """What was put for a key is what a later get returns, position and moment included."""
    key = a_key()
    await cache.put(key, a_verdict(key))
    assert await cache.get(key) == Cached(a_verdict(key))


async def test_verdict_on_an_older_key_comes_back(cache: VerdictCache) -> None:
    """A key without an id has its verdict found by its text alone."""
    key = an_older_key()
    await cache.put(key, a_verdict(key))
    assert await cache.get(key) == Cached(a_verdict(key))
    assert await cache.get(an_older_key("y")) == Cached()


async def test_nothing_is_known_of_a_key_never_put(cache: VerdictCache) -> None:
    """An unknown key has neither a verdict nor a floor."""
    assert await cache.get(a_key()) == Cached()
    assert await cache.floor("nobody") is None


async def test_verdict_is_not_given_for_another_secret(cache: VerdictCache) -> None:
    """A verdict answers only for the very text it was put for, not for the key id."""
    one, other = a_key(), a_key()
    await cache.put(one, a_verdict(one))
    assert (await cache.get(other)).verdict is None


async def test_later_verdict_replaces_an_earlier_one(cache: VerdictCache) -> None:
    """The last put counts."""
    key = a_key()
    await cache.put(key, a_verdict(key, gen=1))
    await cache.put(key, a_verdict(key, gen=2))
    assert (await cache.get(key)).verdict == a_verdict(key, gen=2)


async def test_floor_comes_with_the_verdict(caches: Caches) -> None:
    """The floor a change left is told by the same get, and by the key id alone."""
    key = a_key()
    assert key.key_id is not None
    await caches.cache.put(key, a_verdict(key))
    kill = a_kill(key.key_id)
    await caches.log.append(kill)
    assert await caches.cache.get(key) == Cached(a_verdict(key), kill.floor)
    assert await caches.cache.floor(key.key_id) == kill.floor


async def test_floor_is_told_without_a_verdict(caches: Caches) -> None:
    """A key that has no verdict still has its floor."""
    key = a_key()
    assert key.key_id is not None
    kill = a_kill(key.key_id, dead=True)
    await caches.log.append(kill)
    assert await caches.cache.get(key) == Cached(None, kill.floor)


_marks = st.tuples(st.integers(1, 30) | st.just(2**53), st.booleans(), st.sampled_from([LATER, LATER + 1]))


@given(marks=st.lists(_marks, min_size=1, max_size=6))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_floor_only_rises(caches: Caches, marks: list[tuple[int, bool, float]]) -> None:
    """Whatever the order of changes, the highest floor stays, and a dead key stays dead."""
    key_id = uuid4().hex
    kills = [a_kill(key_id, gen=gen, dead=dead, until=until) for gen, dead, until in marks]
    for kill in kills:
        await caches.log.append(kill)
    assert await caches.cache.floor(key_id) == highest(kill.floor for kill in kills if kill.floor is not None)
