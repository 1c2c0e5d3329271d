"""What Redis adds to the recent audit: seals, tampering, and an end to everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contracts.examples import OTHER_PEPPERS, PEPPERS
from contracts.test_recent_events import KEY, OTHER, event, numbers
from keystile.adapters.redis.events import RedisRecentEvents
from keystile.ports import EventPage

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from keystile.adapters.redis.link import RedisLink

STREAM, LIST = "keystile:events", f"keystile:events:key:{KEY}"


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def store(link: RedisLink, told: list[str]) -> RedisRecentEvents:
    return RedisRecentEvents(link, PEPPERS, on_tampering=told.append)


async def test_events_are_sealed(store: RedisRecentEvents, raw: Redis) -> None:
    """Neither owners nor addresses nor what was done can be read in Redis."""
    await store.add("b1", [event(1)])
    everything = repr([await raw.keys("*"), await raw.xrange(STREAM), await raw.lrange(LIST, 0, -1)])
    for word in ("zo", "192.0.2.1", "admin", "acme", "key_changed"):
        assert word not in everything
        assert word.encode().hex() not in everything or word == "zo"


async def test_lists_and_marks_end_by_themselves(store: RedisRecentEvents, raw: Redis) -> None:
    """What names a key or owner is gone 30 days after its last event; events go with their age and number."""
    await store.add("b1", [event(1)])
    for name in await raw.keys("keystile:events:*"):
        assert 0 < await raw.ttl(name) <= 30 * 86_400, name
    for _ in range(300):
        await raw.xadd(STREAM, {"s": "00"}, id="*")
    assert await raw.xlen(STREAM) == 301


async def test_old_events_go(store: RedisRecentEvents, raw: Redis) -> None:
    """Events older than 30 days make room for new ones."""
    for number in range(500):
        await raw.xadd(STREAM, {"s": "00"}, id=f"{number + 1}-0")
    await store.add("b1", [event(1)])
    assert await raw.xlen(STREAM) < 200
    assert numbers(await store.of_key(KEY, limit=9)) == [1]


async def test_event_of_another_key_is_not_told(store: RedisRecentEvents, raw: Redis) -> None:
    """Who rewrites the lists can hide events, but tell none of one key as those of another."""
    await store.add("b1", [event(1), event(2, OTHER)])
    for place in await raw.lrange(f"keystile:events:key:{OTHER}", 0, -1):
        await raw.lpush(LIST, place)
    assert numbers(await store.of_key(KEY, limit=9)) == [1]


async def test_garbage_is_passed_over_and_told(store: RedisRecentEvents, raw: Redis, told: list[str]) -> None:
    """Forged events and places are no events, raise nothing, and are alerted once for each."""
    await store.add("b1", [event(1)])
    forged = await raw.xadd(STREAM, {"s": "zz"})
    await raw.lpush(LIST, forged, "no place", "99-99")
    assert numbers(await store.of_key(KEY, limit=9)) == [1]
    assert numbers(await store.latest(limit=9)) == [1]
    assert told == ["an event of the recent audit does not open"] * 2


@pytest.mark.parametrize("name", [STREAM, LIST])
async def test_values_of_another_kind_make_room(store: RedisRecentEvents, raw: Redis, name: str) -> None:
    """Who puts another kind of value there stops neither asking nor keeping."""
    await raw.set(name, "x")
    assert await store.of_key(KEY, limit=9) == EventPage(())
    assert await store.latest(limit=9) == EventPage(())
    await store.add("b1", [event(1)])
    assert numbers(await store.of_key(KEY, limit=9)) == [1]


async def test_other_peppers_open_nothing(store: RedisRecentEvents, link: RedisLink, told: list[str]) -> None:
    """Whoever has Redis and not the pepper has nothing."""
    await RedisRecentEvents(link, OTHER_PEPPERS, on_tampering=told.append).add("b1", [event(1)])
    assert await store.of_key(KEY, limit=9) == EventPage(())
    assert told
