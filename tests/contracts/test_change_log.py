"""What every change log promises."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.examples import PEPPERS
from keystile.adapters.memory.log import InProcessChangeLog
from keystile.adapters.redis.log import RedisChangeLog
from keystile.adapters.sqlite.database import SqliteDatabase
from keystile.adapters.sqlite.log import SqliteChangeLog
from keystile.changes import Change, PollMark

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator
    from pathlib import Path

    from redis.asyncio import Redis

    from keystile.adapters.redis.link import RedisLink
    from keystile.ports import ChangeLog


class Deployment(Protocol):
    """One log as two processes have it, and what can happen to it."""

    @property
    def here(self) -> ChangeLog:
        """The log as one process has it."""

    @property
    def there(self) -> ChangeLog:
        """The same log as another process has it."""

    async def append_much_later(self, change: Change) -> None:
        """Append when everything before has become older than the retention."""

    async def lose(self) -> None:
        """Lose all that was appended."""


class InProcess:
    """The fake: both processes are this one."""

    def __init__(self) -> None:
        self._now = 0.0
        self.here = self.there = self._log = InProcessChangeLog(ticks=lambda: self._now)

    async def append_much_later(self, change: Change) -> None:
        """Step the clock."""
        self._now += timedelta(days=1).total_seconds()
        await self._log.append(change)

    async def lose(self) -> None:
        """Begin anew."""
        self._log.lose()


class OnRedis:
    """Two logs over one server."""

    def __init__(self, link: RedisLink, raw: Redis) -> None:
        self.here, self.there = RedisChangeLog(link, PEPPERS), RedisChangeLog(link, PEPPERS)
        self._hasty = RedisChangeLog(link, PEPPERS, retention=timedelta(0))
        self._raw = raw

    async def append_much_later(self, change: Change) -> None:
        """Append with no retention at all, once the server's clock shows another millisecond."""
        begun = await self._now_ms()
        while await self._now_ms() == begun:
            pass
        await self._hasty.append(change)

    async def lose(self) -> None:
        """Flush."""
        await self._raw.flushall()

    async def _now_ms(self) -> int:
        seconds, micros = await self._raw.time()
        return int(seconds) * 1000 + int(micros) // 1000


class OnSqlite:
    """Two logs over one file, each with a connection of its own."""

    def __init__(self, here: SqliteDatabase, there: SqliteDatabase) -> None:
        retention = timedelta(hours=2)
        self.here = SqliteChangeLog(here, PEPPERS, retention=retention)
        self.there = SqliteChangeLog(there, PEPPERS, retention=retention)
        self._hasty = SqliteChangeLog(here, PEPPERS, retention=timedelta(0))
        self._database = here

    async def append_much_later(self, change: Change) -> None:
        """Append when everything before counts as too old: the database's own clock made to wait for a tick."""
        begun = time.time()
        while time.time() == begun:
            pass
        await self._hasty.append(change)

    async def lose(self) -> None:
        """Put an older copy of the file in its place: another life."""

        def restore(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM changes")
            connection.execute("DELETE FROM polled")
            connection.execute("UPDATE incarnation SET id = 'another'")

        await self._database.write(restore)


@pytest.fixture
async def on_sqlite(tmp_path: Path) -> AsyncIterator[OnSqlite]:
    here, there = SqliteDatabase(tmp_path / "log.db"), SqliteDatabase(tmp_path / "log.db")
    await here.open()
    await there.open()
    yield OnSqlite(here, there)
    await here.close()
    await there.close()


@pytest.fixture(params=["in_process", "redis", "sqlite"])
def deployment(request: pytest.FixtureRequest) -> Deployment:
    if request.param == "in_process":
        return InProcess()
    if request.param == "redis":
        return OnRedis(request.getfixturevalue("link"), request.getfixturevalue("raw"))
    on_sqlite: OnSqlite = request.getfixturevalue("on_sqlite")
    return on_sqlite


def changes(*key_ids: str) -> tuple[Change, ...]:
    return tuple(Change(key_id=key_id, gen=1) for key_id in key_ids)


async def say(log: ChangeLog, *key_ids: str) -> None:
    for change in changes(*key_ids):
        await log.append(change)


async def test_new_log_is_empty(deployment: Deployment) -> None:
    """A log nobody wrote to has a position to follow it from, and nothing before it."""
    page = await deployment.here.read(None)
    assert (page.changes, page.whole, page.polled, page.dropped) == ((), True, None, 0)


async def test_every_process_hears_what_one_said(deployment: Deployment) -> None:
    """What one process appended, another reads, oldest first."""
    start = await deployment.there.read(None)
    await say(deployment.here, "a", "b", "c")
    page = await deployment.there.read(start.position)
    assert page.whole
    assert page.changes == changes("a", "b", "c")


async def test_nothing_is_heard_twice(deployment: Deployment) -> None:
    """Following from the position of the last page tells only what came later, or nothing."""
    await say(deployment.here, "a")
    page = await deployment.there.read(None)
    again = await deployment.there.read(page.position)
    assert (again.changes, again.whole, again.position) == ((), True, page.position)
    await say(deployment.here, "b")
    assert (await deployment.there.read(page.position)).changes == changes("b")


async def test_append_returns_the_position_of_its_entry(deployment: Deployment) -> None:
    """Positions rise, and reading after one tells what came after that very entry."""
    first, second = [await deployment.here.append(change) for change in changes("a", "b")]
    assert first < second
    assert (await deployment.there.read(first)).changes == changes("b")
    page = await deployment.there.read(second)
    assert (page.changes, page.whole, page.position) == ((), True, second)


async def test_full_read_tells_all_that_is_kept(deployment: Deployment) -> None:
    """A process that starts reads everything from the beginning."""
    await say(deployment.here, "a", "b")
    page = await deployment.there.read(None)
    assert page.whole
    assert page.changes == changes("a", "b")


async def test_concurrent_appends_are_all_heard_once(deployment: Deployment) -> None:
    """Of many appends at once, from two processes, a follower hears each exactly once."""
    position, heard = (await deployment.there.read(None)).position, list[Change]()
    key_ids = [str(number) for number in range(60)]
    appends = [
        asyncio.create_task(say([deployment.here, deployment.there][number % 2], key_id))
        for number, key_id in enumerate(key_ids)
    ]
    while len(heard) < len(key_ids):
        page = await deployment.there.read(position)
        assert page.whole
        position, heard = page.position, [*heard, *page.changes]
        await asyncio.sleep(0)  # a log in memory never gives way
    await asyncio.gather(*appends)
    assert sorted(change.key_id for change in heard) == sorted(key_ids)


async def test_poll_mark_is_told_and_never_goes_back(deployment: Deployment) -> None:
    """The last complete poll is told with each read; an earlier one, arriving late, changes nothing."""
    await deployment.here.mark_polled(PollMark(polled_at=1_700_000_001.5))
    await deployment.here.mark_polled(PollMark(polled_at=1_700_000_000.5))
    assert (await deployment.there.read(None)).polled == PollMark(polled_at=1_700_000_001.5)
    await deployment.here.mark_polled(PollMark(polled_at=1_700_000_002.0))
    assert (await deployment.there.read(None)).polled == PollMark(polled_at=1_700_000_002.0)


async def test_lost_log_is_noticed(deployment: Deployment) -> None:
    """After the log was lost, a position from before is not whole, and one from after is in another incarnation."""
    await say(deployment.here, "a")
    before = (await deployment.there.read(None)).position
    await deployment.lose()
    page = await deployment.there.read(before)
    assert not page.whole
    assert page.position.incarnation != before.incarnation
    await say(deployment.here, "b")
    again = await deployment.there.read(page.position)
    assert (again.changes, again.whole) == (changes("b"), True)


async def test_lost_log_is_noticed_though_written_to_again(deployment: Deployment) -> None:
    """A log that was lost and has grown again is not taken for the one before; all it keeps is told."""
    await say(deployment.here, "a")
    before = (await deployment.there.read(None)).position
    await deployment.lose()
    await say(deployment.here, "b", "c")
    page = await deployment.there.read(before)
    assert (page.changes, page.whole) == (changes("b", "c"), False)


async def test_position_before_the_trimmed_part_is_not_whole(deployment: Deployment) -> None:
    """Who missed entries that are no longer kept is told so, and hears all that is."""
    start = (await deployment.there.read(None)).position
    await say(deployment.here, "a", "b")
    await deployment.append_much_later(*changes("c"))
    page = await deployment.there.read(start)
    assert (page.changes, page.whole) == (changes("c"), False)


async def test_trimmed_entries_already_heard_are_not_missed(deployment: Deployment) -> None:
    """Who heard the entries that are no longer kept has missed nothing."""
    await say(deployment.here, "a", "b")
    heard = (await deployment.there.read(None)).position
    await deployment.append_much_later(*changes("c"))
    page = await deployment.there.read(heard)
    assert (page.changes, page.whole) == (changes("c"), True)


async def test_position_ahead_of_the_log_is_not_whole(deployment: Deployment) -> None:
    """A position that the log has not reached is not one of this log."""
    position = await deployment.here.append(Change(key_id="a"))
    ahead = type(position)(position.incarnation, position.offset + 1)
    assert not (await deployment.there.read(ahead)).whole


_moments = st.floats(0, 4e9, allow_nan=False)
_texts = st.text(max_size=40).filter(lambda text: "\x00" not in text)
_changes = st.builds(
    Change,
    key_id=_texts,
    owner_id=_texts,
    gen=st.integers(0, 2**53),
    kills_below=st.integers(0, 2**53),
    kills_from=_moments,
    dead=st.booleans(),
    at=_moments,
    jti=_texts,
    jti_gen=st.integers(0, 2**53),
    jti_until=_moments,
)


@given(change=_changes)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_every_field_of_a_change_survives(deployment: Deployment, change: Change) -> None:
    """A change is heard exactly as it was said."""
    before = (await deployment.there.read(None)).position
    await deployment.here.append(change)
    assert (await deployment.there.read(before)).changes == (change,)
