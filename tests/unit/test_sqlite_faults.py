from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keystile.adapters.sqlite import database as module
from keystile.adapters.sqlite.database import SqliteDatabase
from keystile.adapters.sqlite.directory import SqliteDirectory
from keystile.adapters.sqlite.log import SqliteChangeLog
from keystile.changes import Change
from keystile.errors import CannotTellError, ChangeRefusedError, OwnerUnknownError
from unit.builders import PEPPERS, a_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from keystile.records import Owner

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


async def read_all(database: SqliteDatabase) -> None:
    await database.open()
    await SqliteDirectory(database).owner_named("alice")


async def cannot_open(folder: Path) -> None:
    database = SqliteDatabase(folder / NAME)
    try:
        with pytest.raises(CannotTellError):
            await database.open()
    finally:
        await database.close()


async def test_file_that_is_no_database_cannot_tell(tmp_path: Path) -> None:
    """A foreign or damaged file is one error we know, and is left as it is."""
    (tmp_path / NAME).write_bytes(b"this was a database once" * 200)
    await cannot_open(tmp_path)
    assert (tmp_path / NAME).read_bytes() == b"this was a database once" * 200


async def test_file_that_cannot_be_made_cannot_tell(tmp_path: Path) -> None:
    """Without a folder, or where a folder stands, there is no store."""
    await cannot_open(tmp_path / "nowhere")
    (tmp_path / NAME).mkdir()
    await cannot_open(tmp_path)


async def test_database_damaged_while_open_cannot_tell(tmp_path: Path) -> None:
    """Damage found by a read is an outage, never an unknown key."""
    async with opened(tmp_path) as database:
        directory = SqliteDirectory(database)
        await directory.adopt("alice")
    content = bytearray((tmp_path / NAME).read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    (tmp_path / NAME).write_bytes(content)
    database = SqliteDatabase(tmp_path / NAME)
    try:
        with pytest.raises(CannotTellError):
            await read_all(database)
    finally:
        await database.close()


async def test_record_that_is_no_text_cannot_tell(tmp_path: Path) -> None:
    """Bytes that are no text are an outage of the store, not a crash."""
    async with opened(tmp_path) as database:
        directory = SqliteDirectory(database)
        owner = await directory.adopt("alice")
        raw = sqlite3.connect(tmp_path / NAME, isolation_level=None)
        raw.execute("INSERT INTO records (owner_id, text) VALUES (?, CAST(x'fffe' AS TEXT))", (owner.id,))
        raw.close()
        with pytest.raises(CannotTellError):
            await directory.owner(owner.id)


async def test_locked_database_can_be_read_and_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While somebody else writes, readers are answered and writers are told to come again."""
    monkeypatch.setattr(module, "_BUSY_TIMEOUT", 0.0)
    async with opened(tmp_path) as database:
        directory = SqliteDirectory(database)
        owner = await directory.adopt("alice")
        other = sqlite3.connect(tmp_path / NAME, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert await directory.owner(owner.id) == owner
        with pytest.raises(CannotTellError):
            await directory.update(owner.id, lambda current: current.with_record(a_record()))
        with pytest.raises(CannotTellError):
            await a_log(database).append(Change(key_id="k"))
        other.execute("ROLLBACK")
        other.close()
        assert (await directory.update(owner.id, lambda current: current.with_record(a_record()))).records


async def test_closed_store_cannot_tell(tmp_path: Path) -> None:
    """A store that was never opened answers nothing."""
    database = SqliteDatabase(tmp_path / NAME)
    with pytest.raises(CannotTellError):
        await SqliteDirectory(database).find("k")
    await database.close()


async def test_change_that_is_refused_leaves_everything(tmp_path: Path) -> None:
    """If the function raises, or there is nobody to change, nothing is written."""
    async with opened(tmp_path) as database:
        directory = SqliteDirectory(database)
        owner = await directory.adopt("alice")
        owner = await directory.update(owner.id, lambda current: current.with_record(a_record()))

        def refuse(_current: Owner) -> Owner:
            raise ChangeRefusedError("no")

        with pytest.raises(ChangeRefusedError):
            await directory.update(owner.id, refuse)
        with pytest.raises(OwnerUnknownError):
            await directory.update("nobody", lambda current: current)
        assert await directory.owner(owner.id) == owner


async def test_entries_that_vanish_are_a_hole(tmp_path: Path) -> None:
    """A log that somebody cut tells that something may be missing, wherever it was cut."""
    for cut in ("1 = 1", "id = 3", "id <= 3"):
        folder = tmp_path / cut.replace(" ", "")
        folder.mkdir()
        async with opened(folder) as database:
            log = a_log(database)
            first = await log.append(Change(key_id="a"))
            for key_id in "bcd":
                await log.append(Change(key_id=key_id))
            assert (await log.read(first)).whole
            raw = sqlite3.connect(folder / NAME, isolation_level=None)
            raw.execute(f"DELETE FROM changes WHERE {cut}")  # noqa: S608 - our own words
            raw.close()
            assert not (await log.read(first)).whole


async def test_forged_entry_is_dropped_and_counted(tmp_path: Path) -> None:
    """Whoever writes into the file without a pepper is noticed, and obeyed in nothing."""
    async with opened(tmp_path) as database:
        log = a_log(database)
        await log.append(Change(key_id="a"))
        raw = sqlite3.connect(tmp_path / NAME, isolation_level=None)
        raw.execute("INSERT INTO changes (at, text) VALUES (0, 'no mac at all')")
        raw.close()
        page = await log.read(None)
        assert (page.changes, page.dropped) == ((Change(key_id="a"),), 1)


@pytest.mark.parametrize("username", ["", "a" * 256, "a\nb", "a\0b", "\ud800"])
async def test_name_nobody_can_have_is_refused(tmp_path: Path, username: str) -> None:
    """An owner's name is printable, and short enough for Keycloak too."""
    async with opened(tmp_path) as database:
        with pytest.raises(OwnerUnknownError):
            await SqliteDirectory(database).adopt(username)
