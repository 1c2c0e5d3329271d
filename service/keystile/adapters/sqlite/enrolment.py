"""Owners who registered themselves, in SQLite."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from keystile.errors import ChangeRefusedError

if TYPE_CHECKING:
    import sqlite3

    from keystile.adapters.sqlite.database import SqliteDatabase


class SqliteEnrolment:
    """An `Enrolment` of the embedded store, where nobody has roles."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def create(self, username: str) -> None:
        """See `Enrolment.create`."""
        await self._database.write(_create, username.lower())


def _create(connection: sqlite3.Connection, username: str) -> None:
    made = connection.execute(
        "INSERT INTO owners (id, username) VALUES (?, ?) ON CONFLICT (username) DO NOTHING",
        (str(uuid.uuid4()), username),
    )
    if not made.rowcount:
        raise ChangeRefusedError(f"{username} is somebody already")
