from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from keystile.adapters.sqlite import database as module
from keystile.adapters.sqlite.database import SqliteDatabase
from keystile.adapters.sqlite.directory import SqliteDirectory
from keystile.adapters.sqlite.log import SqliteChangeLog
from keystile.changes import Change
from unit.builders import PEPPERS, a_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest


NAME = "keystile.db"


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(folder / NAME)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


def a_log(database: SqliteDatabase) -> SqliteChangeLog:
    return SqliteChangeLog(database, PEPPERS, retention=timedelta(hours=2))


async def test_two_processes_see_each_others_changes(tmp_path: Path) -> None:
    """What one has acknowledged, the other reads at once: records, look-up values and the log."""
    async with opened(tmp_path) as one, opened(tmp_path) as other:
        owner = await SqliteDirectory(one).adopt("alice")
        assert await SqliteDirectory(other).adopt("Alice") == owner
        updated = await SqliteDirectory(other).update(owner.id, lambda current: current.with_record(a_record()))
        assert await SqliteDirectory(one).find(a_record().key_id) == (updated,)
        before = (await a_log(one).read(None)).position
        await a_log(other).append(Change(key_id="k"))
        page = await a_log(one).read(before)
        assert (page.changes, page.whole) == ((Change(key_id="k"),), True)


async def test_twenty_updates_of_one_owner_from_two_processes(tmp_path: Path) -> None:
    """No acknowledged update is lost, whoever makes it."""
    async with opened(tmp_path) as one, opened(tmp_path) as other:
        owner = await SqliteDirectory(one).adopt("alice")

        async def add(number: int) -> None:
            record = a_record(key_id=f"key{number:09}")
            directory = SqliteDirectory(one if number % 2 else other)
            await directory.update(owner.id, lambda current: current.with_record(record))

        await asyncio.gather(*(add(number) for number in range(20)))
        stored = await SqliteDirectory(one).owner(owner.id)
        assert stored is not None
        assert len(stored.records) == len(stored.lookups) == 20


async def test_two_processes_open_a_new_store_at_once(tmp_path: Path) -> None:
    """Whoever comes first makes the tables, and both share one incarnation of the log."""
    databases = [SqliteDatabase(tmp_path / NAME) for _ in range(4)]
    await asyncio.gather(*(database.open() for database in databases))
    positions = {(await a_log(database).read(None)).position for database in databases}
    assert len(positions) == 1
    for database in databases:
        await database.close()
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


async def test_opening_is_tried_again_while_somebody_else_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that another process is just making is waited for; SQLite itself would give up at once."""
    tries: list[sqlite3.Connection] = []
    prepare = module._prepare  # noqa: SLF001 - to make it fail

    def busy(connection: sqlite3.Connection) -> None:
        tries.append(connection)
        if len(tries) < 3:
            raise sqlite3.OperationalError("database is locked")
        prepare(connection)

    monkeypatch.setattr(module, "_prepare", busy)
    monkeypatch.setattr(module, "_BUSY_PAUSE", 0.0)
    async with opened(tmp_path) as database:
        assert await SqliteDirectory(database).adopt("alice")
    assert len(tries) == 3
