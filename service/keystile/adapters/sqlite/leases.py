"""Leases in SQLite: for the processes that share one data folder."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from keystile.errors import CannotTellError

if TYPE_CHECKING:
    import sqlite3

    from keystile.adapters.sqlite.database import SqliteDatabase


class SqliteLeases:
    """The `Leases` of an embedded store; they outlast a restart, and end by the wall clock."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def take(self, name: str, ttl: float) -> str | None:
        """See `Leases.take`."""
        token = secrets.token_hex(16)
        return token if await self._database.write(_take, name, token, time.time(), ttl) else None

    async def renew(self, name: str, token: str, ttl: float) -> bool:
        """See `Leases.renew`."""
        return await self._database.write(_renew, name, token, time.time(), ttl)

    async def release(self, name: str, token: str) -> None:
        """See `Leases.release`."""
        try:
            await self._database.write(_release, name, token)
        except CannotTellError:
            return


def _take(connection: sqlite3.Connection, name: str, token: str, now: float, ttl: float) -> bool:
    connection.execute("DELETE FROM leases WHERE until <= ?", (now,))
    added = connection.execute(
        "INSERT INTO leases (name, token, until) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING",
        (name, token, now + ttl),
    )
    return added.rowcount == 1


def _renew(connection: sqlite3.Connection, name: str, token: str, now: float, ttl: float) -> bool:
    kept = connection.execute(
        "UPDATE leases SET until = ? WHERE name = ? AND token = ? AND until > ?", (now + ttl, name, token, now)
    )
    return kept.rowcount == 1


def _release(connection: sqlite3.Connection, name: str, token: str) -> None:
    connection.execute("DELETE FROM leases WHERE name = ? AND token = ?", (name, token))
