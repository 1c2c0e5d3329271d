"""What Redis adds to the use of keys: seals, garbage, ends, and the number of round trips."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from contracts.examples import OTHER_PEPPERS, PEPPERS
from contracts.test_usage_store import AT, KEY, OTHER, TODAY, YESTERDAY, add, counted
from keystile.adapters.redis.usage import RedisUsageStore
from keystile.peppers import Peppers
from keystile.usage import LastUse, LastUses

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from keystile.adapters.redis.link import RedisLink

USE = LastUse(key_id=KEY, at=AT, address="192.0.2.77", user_agent="agent smith", secret_ends_at=None)
COUNTS = counted(requests=1, more={"endpoint:/people/zoe": 1})
DAY, LAST, SINCE = f"keystile:usage:{KEY}:2026-03-01", f"keystile:usage:{KEY}:last", "keystile:usage:since"


@pytest.fixture
def store(link: RedisLink) -> RedisUsageStore:
    return RedisUsageStore(link, PEPPERS, wall=lambda: AT)


async def asked(raw: Redis) -> int:
    """Count the scripts that were run: all that this store asks with."""
    stats = await raw.info("commandstats")
    return int(stats["cmdstat_evalsha"]["calls"])


async def test_each_call_is_one_round_trip(store: RedisUsageStore, raw: Redis) -> None:
    """Many keys are told, and many days read, by one command each."""
    await add(store, COUNTS, uses=(USE,))
    await store.days(KEY, [TODAY])
    await store.last_uses(KEY)  # the scripts are loaded now
    before = await asked(raw)
    await add(store, *(counted(f"key{number}", requests=1) for number in range(50)), uses=(USE,), name="b2")
    await store.days(KEY, [YESTERDAY, TODAY])
    await store.last_uses(KEY)
    assert await asked(raw) == before + 3


async def test_what_is_personal_is_sealed(store: RedisUsageStore, raw: Redis) -> None:
    """Addresses, user agents and paths cannot be read in Redis; key ids and numbers can."""
    await add(store, COUNTS, uses=(USE,))
    everything = ""
    for name in await raw.keys("*"):
        kind = await raw.type(name)
        everything += repr(name) + repr(await raw.hgetall(name) if kind == b"hash" else await raw.get(name))
    for word in ("192.0.2.77", "smith", "zoe", b"192.0.2.77".hex(), b"smith".hex(), b"zoe".hex()):
        assert word not in everything
    assert KEY in everything


async def test_everything_ends_by_itself(store: RedisUsageStore, raw: Redis) -> None:
    """What is kept of a key is gone after 400 days, the mark of a batch after one."""
    await add(store, COUNTS, uses=(USE,))
    for name in (DAY, f"{DAY}:endpoints", LAST):
        assert 399 * 86_400 < await raw.ttl(name) <= 400 * 86_400
    assert 0 < await raw.ttl("keystile:usage:batch:b1") <= 86_400


async def test_garbage_is_nothing(store: RedisUsageStore, raw: Redis) -> None:
    """Values that are not ours are passed over, and hide no true ones."""
    await add(store, COUNTS, uses=(USE,))
    garbage: dict[Any, Any] = {
        b"requests": b"NaN",
        b"errors": b"-5",
        b"bytes": b"9" * 40,
        b"\xff": b"1",
        b"tokens": b"1e9",
        b"x": b"3",
    }
    await raw.hset(DAY, mapping=garbage)
    await raw.hset(f"{DAY}:endpoints", mapping={b"00ff": b"1", b"zz": b"2", b"\xff\xfe": b"x"})
    await raw.hset(LAST, mapping={"current": "1:zz", "earlier": "no"})
    await raw.set(SINCE, "yesterday")
    assert await store.days(KEY, [TODAY]) == (counted(more={"endpoint:/people/zoe": 1}),)
    assert await store.last_uses(KEY) == LastUses(since=AT)


@pytest.mark.parametrize("name", [DAY, f"{DAY}:endpoints", LAST, SINCE])
async def test_values_of_another_kind_are_nothing_and_make_room(store: RedisUsageStore, raw: Redis, name: str) -> None:
    """Who puts another kind of value there stops neither reading nor counting."""
    await raw.rpush(name, "x")
    assert await store.days(KEY, [TODAY]) == ()
    assert await store.last_uses(KEY) == LastUses(since=AT)
    await add(store, COUNTS, uses=(USE,))
    assert await store.days(KEY, [TODAY]) == (COUNTS,)
    assert (await store.last_uses(KEY)).current == USE


async def test_huge_hash_is_not_read(store: RedisUsageStore, raw: Redis) -> None:
    """What was blown up by somebody is not carried here."""
    await raw.hset(DAY, mapping={f"refused:{number}": "1" for number in range(1_000)})
    assert await store.days(KEY, [TODAY]) == ()


async def test_use_in_anothers_place_does_not_open(store: RedisUsageStore, raw: Redis) -> None:
    """A sealed use counts only for its own key and secret."""
    await add(store, uses=(USE,))
    sealed = await raw.hget(LAST, "current")
    assert sealed is not None
    await raw.hset(LAST, "earlier", sealed)
    await raw.hset(f"keystile:usage:{OTHER}:last", "current", sealed)
    assert (await store.last_uses(KEY)).earlier is None
    assert (await store.last_uses(OTHER)).current is None


async def test_use_from_the_future_makes_room(store: RedisUsageStore, raw: Redis) -> None:
    """A forged moment does not keep true uses out."""
    await raw.hset(LAST, "current", "99999999999:00")
    await add(store, uses=(USE,))
    assert (await store.last_uses(KEY)).current == USE


async def test_new_pepper_still_opens_what_the_last_one_sealed(link: RedisLink, raw: Redis) -> None:
    """While its pepper is accepted what was kept is read; endpoints under both are one; without it, nothing."""
    old = RedisUsageStore(link, Peppers(PEPPERS.all[1:]), wall=lambda: AT)
    await add(old, COUNTS, uses=(USE,))
    new = RedisUsageStore(link, PEPPERS, wall=lambda: AT + 9)
    await add(new, COUNTS, name="b2")
    assert await new.days(KEY, [TODAY]) == (counted(requests=2, more={"endpoint:/people/zoe": 2}),)
    assert await new.last_uses(KEY) == LastUses(USE, since=AT)
    stranger = RedisUsageStore(link, OTHER_PEPPERS, wall=lambda: AT + 9)
    assert await stranger.days(KEY, [TODAY]) == (counted(requests=2),)
    assert await stranger.last_uses(KEY) == LastUses(since=AT + 9)
    assert await raw.exists(DAY)
