"""The recent audit in SQLite: a row for each event, found by key id and by owner."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from keystile.ports import EventPage, KeptEvent

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from keystile.adapters.sqlite.database import SqliteDatabase

_MOST, _MOST_EACH = 100_000, 1_000
_TTL = 30 * 86_400  # seconds
_BATCH_TTL = 86_400
_CURSOR_DIGITS = 18
_ALL = "SELECT id, text FROM events WHERE id < ? ORDER BY id DESC LIMIT ?"
_BY_KEY = "SELECT id, text FROM events WHERE key_id = ? AND id < ? ORDER BY id DESC LIMIT ?"
_BY_OWNER = "SELECT id, text FROM events WHERE owner = ? AND id < ? ORDER BY id DESC LIMIT ?"


class SqliteRecentEvents:
    """The `RecentEvents` of the embedded store: 100,000 events for 30 days, 1,000 of a key. *wall*: epoch seconds."""

    def __init__(self, database: SqliteDatabase, *, wall: Callable[[], float] = time.time) -> None:
        self._database = database
        self._wall = wall

    async def add(self, batch_id: str, events: Sequence[KeptEvent]) -> None:
        """Keep *events*, in one transaction."""
        await self._database.write(_add, batch_id, events, self._wall())

    async def of_key(self, key_id: str, *, limit: int, before: str = "") -> EventPage:
        """Return the events that name that key."""
        return await self._page(_BY_KEY, (key_id,), limit, before)

    async def of_owner(self, owner: str, *, limit: int, before: str = "") -> EventPage:
        """Return the events that name that owner."""
        return await self._page(_BY_OWNER, (owner,), limit, before)

    async def latest(self, *, limit: int, before: str = "") -> EventPage:
        """Return the events of everybody."""
        return await self._page(_ALL, (), limit, before)

    async def _page(self, query: str, named: tuple[str, ...], limit: int, before: str) -> EventPage:
        readable = before == "" or (before.isascii() and before.isdigit() and len(before) <= _CURSOR_DIGITS)
        if limit < 1 or not readable:
            return EventPage(())
        below = int(before) if before else 2**62
        rows = await self._database.read(_read, query, (*named, below, limit + 1))  # one more: is there a next page?
        events = tuple(KeptEvent.from_text(text, str(number)) for number, text in rows[:limit])
        return EventPage(events, events[-1].id if len(rows) > limit else "")


def _read(connection: sqlite3.Connection, query: str, values: tuple[object, ...]) -> list[tuple[int, str]]:
    return connection.execute(query, values).fetchall()


def _add(connection: sqlite3.Connection, batch_id: str, events: Sequence[KeptEvent], now: float) -> None:
    connection.execute("DELETE FROM event_batches WHERE at < ?", (now - _BATCH_TTL,))
    if connection.execute("SELECT 1 FROM event_batches WHERE id = ?", (batch_id,)).fetchone():
        return
    connection.execute("INSERT INTO event_batches (id, at) VALUES (?, ?)", (batch_id, now))
    connection.executemany(
        "INSERT INTO events (at, key_id, owner, text) VALUES (?, ?, ?, ?)",
        [(kept.at, kept.event.key_id or "", kept.event.owner or "", kept.to_text()) for kept in events],
    )
    for key_id in {kept.event.key_id for kept in events if kept.event.key_id}:
        connection.execute(
            "DELETE FROM events WHERE key_id = ? AND id <="
            " (SELECT id FROM events WHERE key_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (key_id, key_id, _MOST_EACH),
        )
    (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()
    connection.execute("DELETE FROM events WHERE id <= ? OR at < ?", (last - _MOST, now - _TTL))
