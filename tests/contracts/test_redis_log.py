"""What Redis adds to the change log: forged entries, lost keys, restarts, replicas, and the number of round trips."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from contracts.examples import OTHER_PEPPERS, PEPPERS, a_kill
from contracts.test_change_log import changes, say
from keystile.adapters.redis.floors import floor_name
from keystile.adapters.redis.log import STATE, STREAM, RedisChangeLog
from keystile.changes import Change, PollMark, Position, sign
from keystile.errors import CannotTellError

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from keystile.adapters.redis.link import RedisLink
    from stack import RedisServer


@pytest.fixture
def log(link: RedisLink) -> RedisChangeLog:
    return RedisChangeLog(link, PEPPERS)


@pytest.fixture
def own_log(own_link: RedisLink) -> RedisChangeLog:
    return RedisChangeLog(own_link, PEPPERS)


async def start(log: RedisChangeLog) -> Position:
    """Begin the log's life and return where it stands."""
    return (await log.read(None)).position


async def test_read_and_append_are_one_round_trip_each(log: RedisChangeLog, raw: Redis) -> None:
    """Each sends one command, whatever its script does inside, floor included."""
    position = await start(log)
    await log.append(a_kill("key"))
    await raw.config_resetstat()
    await log.read(position)
    await log.append(a_kill("key"))
    assert (await raw.info("commandstats"))["cmdstat_evalsha"]["calls"] == 2


async def test_log_works_after_the_scripts_were_lost(log: RedisChangeLog, raw: Redis) -> None:
    """A server that forgot our scripts is taught them again."""
    position = await start(log)
    await raw.script_flush()
    await log.append(Change(key_id="a", gen=1))
    assert (await log.read(position)).changes == changes("a")


@pytest.mark.parametrize(
    "fields",
    [
        {"c": sign(Change(key_id="forged", gen=9), OTHER_PEPPERS)},
        {"c": sign(Change(key_id="forged"), PEPPERS).replace("forged", "forgex")},
        {"c": sign(PollMark(polled_at=1.0), PEPPERS)},
        {"c": b"\xff\xfe garbage"},
        {"c": ""},
        {"d": "no c at all"},
    ],
)
async def test_forged_entry_is_dropped_and_counted(
    log: RedisChangeLog, raw: Redis, fields: dict[str | bytes, str | bytes]
) -> None:
    """What is not signed as a change is not obeyed, and those around it are."""
    await say(log, "a")
    await raw.xadd(STREAM, fields)  # type: ignore[arg-type]
    await say(log, "b")
    page = await log.read(None)
    assert page.changes == changes("a", "b")
    assert page.dropped == 1


async def test_entry_added_behind_our_back_begins_a_new_incarnation(log: RedisChangeLog, raw: Redis) -> None:
    """An entry that no append of ours wrote makes every older position void."""
    position = await start(log)
    await raw.xadd(STREAM, {"c": "forged"})
    page = await log.read(position)
    assert not page.whole
    assert page.position.incarnation != position.incarnation


async def test_forged_poll_mark_is_dropped_and_counted(log: RedisChangeLog, raw: Redis) -> None:
    """A poll that we did not sign is no poll, and the next true one takes its place."""
    await log.mark_polled(PollMark(polled_at=5.0))
    await raw.hset(STATE, "polled", "5.000000:" + sign(PollMark(polled_at=9.0), OTHER_PEPPERS))
    page = await log.read(None)
    assert (page.polled, page.dropped) == (None, 1)
    await log.mark_polled(PollMark(polled_at=6.0))
    assert (await log.read(None)).polled == PollMark(polled_at=6.0)


@pytest.mark.parametrize("name", [STREAM, STATE])
async def test_deleting_either_key_voids_positions(log: RedisChangeLog, raw: Redis, name: str) -> None:
    """Half of the log lost is the log lost, also when it was written to since."""
    await say(log, "a")
    position = await start(log)
    await raw.delete(name)
    await say(log, "b")
    page = await log.read(position)
    assert not page.whole
    assert page.changes[-1:] == changes("b")


async def test_cutting_the_end_off_voids_positions(log: RedisChangeLog, raw: Redis) -> None:
    """A log whose last entry was taken away is another log."""
    position = await log.append(Change(key_id="a"))
    await log.append(Change(key_id="b"))
    await raw.xdel(STREAM, (await raw.xinfo_stream(STREAM))["last-generated-id"])
    assert not (await log.read(position)).whole


async def test_long_log_is_read_to_its_end(link: RedisLink) -> None:
    """A read goes on in batches until nothing is left, each entry told once."""
    log = RedisChangeLog(link, PEPPERS, batch=3)
    position = await start(log)
    for count in (0, 1, 3, 4, 6, 10):
        key_ids = [str(number) for number in range(count)]
        await say(log, *key_ids)
        page = await log.read(position)
        assert (page.changes, page.whole) == (changes(*key_ids), True)
        position = page.position


async def test_reading_does_not_go_on_without_end(link: RedisLink) -> None:
    """A log that cannot be read to its end is out of reach, not half heard."""
    log = RedisChangeLog(link, PEPPERS, batch=2, batches=2)
    await say(log, *"abcd")
    with pytest.raises(CannotTellError):
        await log.read(None)


async def test_restart_begins_a_new_incarnation_and_keeps_entries(
    own_redis: RedisServer, own_log: RedisChangeLog
) -> None:
    """After a crash every acknowledged entry is there, told again in full, and older positions are void."""
    position = await own_log.append(Change(key_id="a", gen=1))
    await asyncio.to_thread(own_redis.kill)
    await asyncio.to_thread(own_redis.start)
    page = await own_log.read(position)
    assert (page.changes, page.whole) == (changes("a"), False)
    assert (await own_log.read(page.position)).whole


async def test_nothing_is_read_where_nothing_can_be_written(own_raw: Redis, own_log: RedisChangeLog) -> None:
    """A full Redis fails a read within a moment, so silence proves that nothing could be said elsewhere."""
    position = await own_log.append(Change(key_id="a"))
    await own_raw.config_set("maxmemory", 1)
    await until_refused(own_log, position)
    with pytest.raises(CannotTellError):
        await own_log.append(Change(key_id="b"))
    await own_raw.config_set("maxmemory", 0)
    page = await own_log.read(position)
    assert (page.changes, page.whole) == ((), True)


async def test_replica_is_not_believed(
    own_raw: Redis, own_log: RedisChangeLog, redis_server: RedisServer, log: RedisChangeLog
) -> None:
    """A server that became a replica is not read, though its new master keeps its marks fresh."""
    position = await own_log.append(Change(key_id="a"))
    await own_raw.config_set("masterauth", redis_server.password)
    await own_raw.replicaof("127.0.0.1", redis_server.port)
    await until_refused(own_log, position)
    async with asyncio.timeout(10):
        while not await own_raw.exists(STATE):
            await log.read(None)
    await log.read(None)
    with pytest.raises(CannotTellError):
        await own_log.read(position)


async def until_refused(log: RedisChangeLog, position: Position) -> None:
    """Read until it fails, as it must soon after the last mark."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with suppress(CannotTellError):
        while loop.time() < begun + 10:
            await log.read(position)
    assert loop.time() < begun + 5


async def test_change_and_floor_are_written_together(own_raw: Redis, own_log: RedisChangeLog) -> None:
    """An append that fails leaves neither an entry nor a floor."""
    await own_log.append(Change(key_id="a"))
    await own_raw.config_set("maxmemory", 1)
    with pytest.raises(CannotTellError):
        await own_log.append(a_kill("key"))
    assert await own_raw.xlen(STREAM) == 1
    assert not await own_raw.exists(floor_name("key"))
