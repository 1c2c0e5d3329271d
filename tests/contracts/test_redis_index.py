"""What Redis adds to the fallback index: seals, tampering, and the number of round trips."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contracts.examples import OTHER_PEPPERS, PEPPERS
from contracts.test_index_store import ONE, OTHER, STATE
from contracts.test_redis_cache import calls
from keystile.adapters.redis.index import RedisIndexStore
from keystile.ports import IndexEntry

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from keystile.adapters.redis.link import RedisLink

ENTRIES = [IndexEntry("owner-1", "key-1", ONE), IndexEntry("owner-2", "key-2", OTHER)]
UNNAMED = IndexEntry("owner-3", "key-3", None, "$2b$12$hash")
NAMES, REST = "keystile:index:g1:named", "keystile:index:g1:unnamed"


async def field(raw: Redis, name: str, key: str) -> bytes:
    value = await raw.hget(name, key)
    assert isinstance(value, bytes)
    return value


@pytest.fixture
def store(link: RedisLink) -> RedisIndexStore:
    return RedisIndexStore(link, PEPPERS)


async def test_names_are_looked_up_in_one_round_trip(store: RedisIndexStore, raw: Redis) -> None:
    """Several names cost one command."""
    await store.add("g1", ENTRIES)
    before = await calls(raw)
    assert len(await store.named("g1", [ONE, OTHER])) == 2
    assert await calls(raw) == before + 1


async def test_values_hold_no_owner_key_or_hash(store: RedisIndexStore, raw: Redis) -> None:
    """Owners, key ids and hashes are sealed."""
    await store.add("g1", [*ENTRIES, UNNAMED])
    everything = repr([await raw.hgetall(NAMES), await raw.hgetall(REST)])
    for word in ("owner", "key-", "$2b$", b"owner".hex(), b"key-".hex()):
        assert word not in everything


async def test_entries_in_each_others_place_do_not_open(store: RedisIndexStore, raw: Redis) -> None:
    """An entry counts only under the name and generation it was added to."""
    await store.add("g1", ENTRIES)
    first, second = [await field(raw, NAMES, name.hex()) for name in (ONE, OTHER)]
    await raw.hset(NAMES, mapping={ONE.hex(): second, OTHER.hex(): first})
    assert await store.named("g1", [ONE, OTHER]) == ()
    await raw.hset("keystile:index:g2:named", ONE.hex(), first)
    assert await store.named("g2", [ONE]) == ()


async def test_garbage_is_passed_over(store: RedisIndexStore, raw: Redis) -> None:
    """Forged entries do not hide true ones, and raise nothing."""
    await store.add("g1", [*ENTRIES, UNNAMED])
    forged = b"0123456789abcdefnothex\n" + b"0123456789abcdef00ff\n" + b"\xff\n\n"
    await raw.hset(NAMES, ONE.hex(), forged + await field(raw, NAMES, ONE.hex()))
    await raw.hset(REST, "forged", "zz")
    assert await store.named("g1", [ONE]) == (ENTRIES[0],)
    assert await store.unnamed("g1", 10) == (UNNAMED,)


async def test_forged_state_is_none(store: RedisIndexStore, link: RedisLink, raw: Redis) -> None:
    """A crawl that we did not sign as finished is not finished."""
    await RedisIndexStore(link, OTHER_PEPPERS).finish(STATE)
    assert await store.state() is None
    await store.finish(STATE)
    signed = await raw.get("keystile:index:state")
    assert isinstance(signed, bytes)
    await raw.set("keystile:index:state", signed.replace(b"g1", b"g9"))
    assert await store.state() is None
