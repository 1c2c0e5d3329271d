"""What Redis adds to the verdict cache: names, seals, tampering, and the number of round trips."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from contracts.examples import LATER, OTHER_PEPPERS, PEPPERS, a_key, a_kill, a_verdict, an_older_key
from keystile.adapters.redis.cache import RedisVerdictCache, verdict_name
from keystile.adapters.redis.floors import floor_name, floor_text
from keystile.adapters.redis.log import RedisChangeLog
from keystile.changes import Floor
from keystile.peppers import Pepper, Peppers
from keystile.ports import Cached

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from keystile.adapters.redis.link import RedisLink

TTL = timedelta(minutes=15)


@pytest.fixture
def alarms() -> list[str]:
    return []


@pytest.fixture
def cache(link: RedisLink, alarms: list[str]) -> RedisVerdictCache:
    return RedisVerdictCache(link, PEPPERS, TTL, on_tampering=alarms.append)


async def stored(raw: Redis, name: str) -> bytes:
    value = await raw.get(name)
    assert isinstance(value, bytes)
    return value


async def calls(raw: Redis) -> int:
    """Count the commands the server ran, those that count them left out."""
    stats = await raw.info("commandstats")
    return sum(stat["calls"] for command, stat in stats.items() if command not in ("cmdstat_info", "cmdstat_auth"))


async def test_hit_is_one_round_trip(cache: RedisVerdictCache, raw: Redis) -> None:
    """A verdict and its floor cost exactly one command."""
    key = a_key()
    await cache.put(key, a_verdict(key))
    before = await calls(raw)
    assert (await cache.get(key)).verdict is not None
    assert await calls(raw) == before + 1


async def test_names_and_values_hold_nothing_of_the_key(cache: RedisVerdictCache, raw: Redis) -> None:
    """Neither a name nor a value in Redis contains any part of a key, its owner or its record."""
    key, older = a_key(), an_older_key()
    await cache.put(key, a_verdict(key))
    await cache.put(older, a_verdict(older))
    names = [name async for name in raw.scan_iter()]
    everything = b" ".join([*names, *[await stored(raw, name.decode()) for name in names]])
    assert len(names) == 2
    for secret in (key.reveal(), key.reveal()[25:57], older.reveal()[12:], "owner-1", "bcrypt", "$2b$"):
        assert secret.encode() not in everything
    assert key.key_id is not None
    assert key.key_id.encode() not in everything


async def test_verdict_ends_by_itself(cache: RedisVerdictCache, raw: Redis) -> None:
    """A stored verdict has a time to live, at most the one asked for."""
    key = a_key()
    await cache.put(key, a_verdict(key))
    assert 0 < await raw.pttl(verdict_name(key)) <= TTL.total_seconds() * 1000


async def test_any_flipped_byte_is_a_miss(cache: RedisVerdictCache, raw: Redis, alarms: list[str]) -> None:
    """A change of any single byte of a sealed verdict makes it a miss, with an alarm that holds no secret."""
    key = a_key()
    await cache.put(key, a_verdict(key))
    sealed = await stored(raw, verdict_name(key))
    for at in range(len(sealed)):
        await raw.set(verdict_name(key), sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :])
        assert await cache.get(key) == Cached()
    assert len(alarms) == len(sealed)
    assert not any(key.reveal() in alarm for alarm in alarms)


async def test_cut_verdict_is_a_miss(cache: RedisVerdictCache, raw: Redis) -> None:
    """A sealed verdict cut short anywhere, or lengthened, is a miss."""
    key = a_key()
    await cache.put(key, a_verdict(key))
    sealed = await stored(raw, verdict_name(key))
    for forged in [*(sealed[:length] for length in range(0, len(sealed), 7)), sealed + b"\0"]:
        await raw.set(verdict_name(key), forged)
        assert await cache.get(key) == Cached()


async def test_swapped_verdicts_are_misses(cache: RedisVerdictCache, raw: Redis) -> None:
    """Two sealed verdicts in each other's place are both misses."""
    one, other = a_key(), a_key()
    await cache.put(one, a_verdict(one))
    await cache.put(other, a_verdict(other))
    first, second = await stored(raw, verdict_name(one)), await stored(raw, verdict_name(other))
    await raw.mset({verdict_name(one): second, verdict_name(other): first})
    assert await cache.get(one) == Cached()
    assert await cache.get(other) == Cached()


async def test_verdict_sealed_by_somebody_else_is_a_miss(
    cache: RedisVerdictCache, link: RedisLink, raw: Redis, alarms: list[str]
) -> None:
    """Whoever holds the API key and can write to Redis, but has no pepper, cannot plant a verdict."""
    key = a_key()
    forger = RedisVerdictCache(link, OTHER_PEPPERS, TTL, on_tampering=pytest.fail)
    await forger.put(key, a_verdict(key))
    assert await raw.exists(verdict_name(key))
    assert await cache.get(key) == Cached()
    assert len(alarms) == 1


async def test_verdict_about_another_record_is_a_miss(cache: RedisVerdictCache, alarms: list[str]) -> None:
    """A well-sealed verdict whose record has another key id does not count."""
    key = a_key()
    await cache.put(key, a_verdict(a_key()))
    assert await cache.get(key) == Cached()
    assert len(alarms) == 1


async def test_verdict_put_back_tells_its_old_position(cache: RedisVerdictCache, raw: Redis) -> None:
    """An old value put back still says how old it is, so the log voids it."""
    key = a_key()
    await cache.put(key, a_verdict(key, offset=1))
    old = await stored(raw, verdict_name(key))
    await cache.put(key, a_verdict(key, offset=9))
    await raw.set(verdict_name(key), old)
    verdict = (await cache.get(key)).verdict
    assert verdict is not None
    assert verdict.position.offset == 1


async def test_nothing_opens_under_an_earlier_pepper(link: RedisLink) -> None:
    """A verdict sealed under a pepper that is no longer current stays closed."""
    key = a_key()
    await RedisVerdictCache(link, PEPPERS, TTL, on_tampering=pytest.fail).put(key, a_verdict(key))
    newer = Peppers((Pepper("p3", b"new".ljust(32, b".")), *PEPPERS.all))
    alarms = list[str]()
    assert await RedisVerdictCache(link, newer, TTL, on_tampering=alarms.append).get(key) == Cached()


async def test_value_of_another_type_is_a_miss(cache: RedisVerdictCache, raw: Redis) -> None:
    """A list or hash under our names is as good as nothing."""
    key, older = a_key(), an_older_key()
    assert key.key_id is not None
    for name in (verdict_name(key), verdict_name(older), floor_name(key.key_id)):
        await raw.rpush(name, "x")
    assert await cache.get(key) == Cached()
    assert await cache.get(older) == Cached()
    assert await cache.floor(key.key_id) is None


_FLOOR = Floor(key_id="key", gen=3, dead=False, until=LATER)


@pytest.mark.parametrize(
    "forged",
    [
        floor_text(_FLOOR, OTHER_PEPPERS),
        floor_text(Floor(key_id="other", gen=3, dead=False, until=LATER), PEPPERS),
        floor_text(_FLOOR, PEPPERS).replace("0:3:", "1:3:", 1),
        floor_text(_FLOOR, PEPPERS).replace('"gen":3', '"gen":1', 1),
        "",
        "0:3:",
        "ünsigned" * 30,
    ],
)
async def test_forged_floor_is_dropped(cache: RedisVerdictCache, raw: Redis, alarms: list[str], forged: str) -> None:
    """A floor that is not signed, is another key's or ranks otherwise than it says is dropped with an alarm."""
    await raw.set(floor_name("key"), forged)
    assert await cache.floor("key") is None
    assert len(alarms) == 1


async def test_planted_floor_is_overwritten(cache: RedisVerdictCache, link: RedisLink, raw: Redis) -> None:
    """What somebody planted under a floor's name does not keep a true floor out."""
    log = RedisChangeLog(link, PEPPERS)
    for plant in (raw.set(floor_name("key"), "garbage"), raw.rpush(floor_name("key"), "x")):
        await raw.delete(floor_name("key"))
        await plant
        await log.append(a_kill("key"))
        assert await cache.floor("key") == a_kill("key").floor


async def test_floor_ends_by_itself(link: RedisLink, raw: Redis) -> None:
    """A floor is kept until its moment, and not for ever."""
    await RedisChangeLog(link, PEPPERS).append(a_kill("key", until=LATER))
    assert await raw.expiretime(floor_name("key")) == LATER
