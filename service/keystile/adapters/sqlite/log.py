"""The change log in SQLite: a table that every process on the data folder reads."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from keystile.changes import Change, PollMark, Position, sign, unsign
from keystile.ports import LogPage

if TYPE_CHECKING:
    import sqlite3
    from datetime import timedelta

    from keystile.adapters.sqlite.database import SqliteDatabase
    from keystile.peppers import Peppers


class SqliteChangeLog:
    """A `ChangeLog`; a successful read of the file is all the mark it needs."""

    def __init__(self, database: SqliteDatabase, peppers: Peppers, *, retention: timedelta) -> None:
        self._database = database
        self._peppers = peppers
        self._retention = retention.total_seconds()

    async def append(self, change: Change) -> Position:
        """See `ChangeLog.append`."""
        return await self._database.write(_append, sign(change, self._peppers), time.time() - self._retention)

    async def mark_polled(self, mark: PollMark) -> None:
        """See `ChangeLog.mark_polled`: a mark never goes back."""
        await self._database.write(_mark_polled, mark.polled_at, sign(mark, self._peppers))

    async def read(self, after: Position | None) -> LogPage:
        """See `ChangeLog.read`."""
        incarnation, last, texts, marked = await self._database.read(_read, after)
        read = [unsign(Change, text, self._peppers) for text in texts]
        changes = tuple(change for change in read if change is not None)
        # Offsets have no gaps, so entries that were trimmed or cut away show in the count.
        whole = after is None or (after.incarnation == incarnation and len(read) == last - after.offset)
        polled = unsign(PollMark, marked, self._peppers) if marked else None
        dropped = len(read) - len(changes) + (bool(marked) and polled is None)
        return LogPage(Position(incarnation, last), changes, whole=whole, polled=polled, dropped=dropped)


def _append(connection: sqlite3.Connection, text: str, trim_before: float) -> Position:
    (offset,) = connection.execute(
        "INSERT INTO changes (at, text) VALUES (?, ?) RETURNING id", (time.time(), text)
    ).fetchone()
    connection.execute("DELETE FROM changes WHERE at < ?", (trim_before,))
    (incarnation,) = connection.execute("SELECT id FROM incarnation").fetchone()
    return Position(incarnation, offset)


def _read(connection: sqlite3.Connection, after: Position | None) -> tuple[str, int, list[str], str | None]:
    (incarnation,) = connection.execute("SELECT id FROM incarnation").fetchone()
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'changes'").fetchone()
    last = row[0] if row else 0
    known = after is not None and after.incarnation == incarnation and after.offset <= last
    start = after.offset if known and after is not None else 0
    texts = connection.execute("SELECT text FROM changes WHERE id > ? ORDER BY id", (start,)).fetchall()
    marked = connection.execute("SELECT text FROM polled").fetchone()
    return incarnation, last, [text for (text,) in texts], marked[0] if marked else None


def _mark_polled(connection: sqlite3.Connection, polled_at: float, text: str) -> None:
    connection.execute(
        "INSERT INTO polled (one, at, text) VALUES (1, ?, ?)"
        " ON CONFLICT (one) DO UPDATE SET at = excluded.at, text = excluded.text WHERE excluded.at > polled.at",
        (polled_at, text),
    )
