"""The use of keys in SQLite: a row for each thing counted of a key and day."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from keystile.usage import ENDPOINT, KEPT_DAYS, MOST, OTHERS, DayCounts, LastUse, LastUses

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from keystile.adapters.sqlite.database import SqliteDatabase
    from keystile.ports import UsageBatch

_FULL, _TRIMMED = 40, 20  # endpoints of a key and day: so many are kept, and so many are left when there are more
_BATCH_TTL = 86_400  # seconds for which a batch of unknown outcome may be sent again
_COUNT = (
    "INSERT INTO usage_counts (key_id, day, name, value) VALUES (?, ?, ?, ?) ON CONFLICT (key_id, day, name)"
    " DO UPDATE SET value = min(value + excluded.value, ?)"
)
_END = ENDPOINT[:-1] + chr(ord(ENDPOINT[-1]) + 1)  # what begins with ENDPOINT is below it


class SqliteUsageStore:
    """The `UsageStore` of the embedded store. *wall* tells epoch seconds."""

    def __init__(self, database: SqliteDatabase, *, wall: Callable[[], float] = time.time) -> None:
        self._database = database
        self._wall = wall

    async def add(self, batch: UsageBatch) -> None:
        """Add the counts and keep the uses, in one transaction."""
        await self._database.write(_add, batch, self._wall())

    async def days(self, key_id: str, days: Sequence[date]) -> tuple[DayCounts, ...]:
        """See `UsageStore.days`."""
        if not days:
            return ()
        found = await self._database.read(_days, key_id, min(days).isoformat(), max(days).isoformat())
        return tuple(DayCounts(key_id, day, found[day]) for day in days if day in found)

    async def last_uses(self, key_id: str) -> LastUses:
        """See `UsageStore.last_uses`."""
        return await self._database.read(_last_uses, key_id, self._wall())


def _add(connection: sqlite3.Connection, batch: UsageBatch, now: float) -> None:
    connection.execute("DELETE FROM usage_batches WHERE at < ?", (now - _BATCH_TTL,))
    if connection.execute("SELECT 1 FROM usage_batches WHERE id = ?", (batch.id,)).fetchone():
        return
    connection.execute("INSERT INTO usage_batches (id, at) VALUES (?, ?)", (batch.id, now))
    connection.execute("INSERT OR IGNORE INTO usage_since (one, at) VALUES (1, ?)", (now,))
    for row in batch.counts:
        day = row.day.isoformat()
        connection.executemany(_COUNT, [(row.key_id, day, name, count, MOST) for name, count in row.counts.items()])
        _trim(connection, row.key_id, day)
    for use in batch.uses:
        connection.execute(
            "INSERT INTO usage_last (key_id, earlier, at, text) VALUES (?, ?, ?, ?) ON CONFLICT (key_id, earlier)"
            " DO UPDATE SET at = excluded.at, text = excluded.text WHERE excluded.at >= usage_last.at",
            (use.key_id, use.is_earlier, use.at, use.to_text()),
        )
    _expire(connection, now)


def _trim(connection: sqlite3.Connection, key_id: str, day: str) -> None:
    rows = connection.execute(
        "SELECT name, value FROM usage_counts WHERE key_id = ? AND day = ? AND name >= ? AND name < ?"
        " ORDER BY value DESC",
        (key_id, day, ENDPOINT, _END),
    ).fetchall()
    if len(rows) <= _FULL:
        return
    rest = rows[_TRIMMED:]
    connection.executemany(
        "DELETE FROM usage_counts WHERE key_id = ? AND day = ? AND name = ?", [(key_id, day, name) for name, _ in rest]
    )
    connection.execute(_COUNT, (key_id, day, OTHERS, min(MOST, sum(value for _, value in rest)), MOST))


def _expire(connection: sqlite3.Connection, now: float) -> None:
    oldest = datetime.fromtimestamp(now, UTC).date() - timedelta(days=KEPT_DAYS)
    connection.execute("DELETE FROM usage_counts WHERE day < ?", (oldest.isoformat(),))
    connection.execute("DELETE FROM usage_last WHERE at < ?", (now - KEPT_DAYS * 86_400,))


def _days(connection: sqlite3.Connection, key_id: str, first: str, last: str) -> dict[date, dict[str, int]]:
    found: dict[date, dict[str, int]] = {}
    for day, name, value in connection.execute(
        "SELECT day, name, value FROM usage_counts WHERE key_id = ? AND day BETWEEN ? AND ?", (key_id, first, last)
    ):
        found.setdefault(date.fromisoformat(day), {})[name] = value
    return found


def _last_uses(connection: sqlite3.Connection, key_id: str, now: float) -> LastUses:
    kept = connection.execute("SELECT at FROM usage_since").fetchone()
    rows = connection.execute("SELECT earlier, text FROM usage_last WHERE key_id = ?", (key_id,)).fetchall()
    uses = {bool(earlier): LastUse.from_text(text) for earlier, text in rows}
    return LastUses(uses.get(False), uses.get(True), kept[0] if kept else now)
