"""Owners and key records in SQLite: the directory of the embedded store."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from keystile.errors import OwnerUnknownError
from keystile.records import KeyRecord, Owner, Unreadable, UnreadableRecordError

if TYPE_CHECKING:
    import sqlite3

    from keystile.adapters.sqlite.database import SqliteDatabase
    from keystile.ports import OwnerChange

_PAGE = 100
_COLUMNS = "id, username, enabled, not_before"


class SqliteDirectory:
    """A `Directory` whose updates are SQLite transactions; owners not seen before are created."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def find(self, lookup: str) -> tuple[Owner, ...]:
        """See `Directory.find`."""
        return await self._database.read(_find, lookup)

    async def owner(self, owner_id: str) -> Owner | None:
        """See `Directory.owner`."""
        return await self._database.read(_one, "id", owner_id)

    async def owner_named(self, username: str) -> Owner | None:
        """See `Directory.owner_named`."""
        return await self._database.read(_one, "username", username.lower())

    async def adopt(self, username: str) -> Owner:
        """See `Directory.adopt`: creates the owner."""
        if not username or not username.isprintable() or len(username) > 255:  # noqa: PLR2004 - Keycloak's limit too
            raise OwnerUnknownError("an owner's name is 1 to 255 printable characters")
        return await self._database.write(_adopt, username.lower())

    async def update(self, owner_id: str, change: OwnerChange, *, urgent: bool = False) -> Owner:  # noqa: ARG002 - the port's
        """See `Directory.update`: one transaction, so nothing can come in between."""
        return await self._database.write(_update, owner_id, change)

    async def owners(self, after: str = "", *, enabled: bool = True) -> tuple[tuple[Owner, ...], str]:
        """See `Directory.owners`."""
        page = await self._database.read(_page, after, enabled)
        return page, page[-1].id if len(page) == _PAGE else ""

    async def roles(self, owner_id: str) -> frozenset[str] | None:
        """See `Directory.roles`: nobody has any here, and who issues keys on this machine decides what they may."""
        if await self.owner(owner_id) is None:
            raise OwnerUnknownError(f"there is no owner with the id {owner_id}")
        return None

    async def administers(self, owner_id: str) -> bool:
        """See `Directory.administers`."""
        return bool(await self.roles(owner_id))

    async def set_enabled(self, owner_id: str, *, enabled: bool) -> None:
        """Enable or disable an owner, as Keycloak's console would."""
        await self._database.write(_set_enabled, owner_id, enabled)


def _find(connection: sqlite3.Connection, lookup: str) -> tuple[Owner, ...]:
    rows = connection.execute("SELECT owner_id FROM lookups WHERE value = ? LIMIT 2", (lookup,)).fetchall()
    found = (_one(connection, "id", owner_id) for (owner_id,) in rows)
    return tuple(owner for owner in found if owner is not None)


def _one(connection: sqlite3.Connection, column: str, value: str) -> Owner | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM owners WHERE {column} = ?", (value,)).fetchone()  # noqa: S608 - two fixed columns
    return None if row is None else _read(connection, row)


def _read(connection: sqlite3.Connection, row: tuple[str, str, int, int]) -> Owner:
    owner_id, username, enabled, not_before = row
    records: list[KeyRecord] = []
    unreadable: list[Unreadable] = []
    for (text,) in connection.execute("SELECT text FROM records WHERE owner_id = ? ORDER BY rowid", (owner_id,)):
        try:
            records.append(KeyRecord.from_text(text))
        except UnreadableRecordError as error:
            unreadable.append(Unreadable(text, error.key_id))
    lookups = connection.execute("SELECT value FROM lookups WHERE owner_id = ?", (owner_id,))
    return Owner(
        id=owner_id,
        username=username,
        enabled=bool(enabled),
        not_before=not_before,
        records=tuple(records),
        unreadable=tuple(unreadable),
        lookups=frozenset(value for (value,) in lookups),
    )


def _adopt(connection: sqlite3.Connection, username: str) -> Owner:
    connection.execute(
        "INSERT INTO owners (id, username) VALUES (?, ?) ON CONFLICT (username) DO NOTHING",
        (str(uuid.uuid4()), username),
    )
    owner = _one(connection, "username", username)
    if owner is None:
        raise OwnerUnknownError(f"the owner {username!r} could not be created")
    return owner


def _update(connection: sqlite3.Connection, owner_id: str, change: OwnerChange) -> Owner:
    owner = _one(connection, "id", owner_id)
    if owner is None:
        raise OwnerUnknownError(f"there is no owner with the id {owner_id}")
    changed = change(owner)
    texts = [record.to_text() for record in changed.records] + [kept.text for kept in changed.unreadable]
    connection.execute("DELETE FROM records WHERE owner_id = ?", (owner_id,))
    connection.executemany("INSERT INTO records (owner_id, text) VALUES (?, ?)", [(owner_id, text) for text in texts])
    connection.execute("DELETE FROM lookups WHERE owner_id = ?", (owner_id,))
    connection.executemany(
        "INSERT INTO lookups (value, owner_id) VALUES (?, ?)", [(value, owner_id) for value in changed.lookups]
    )
    return _one(connection, "id", owner_id) or changed


def _page(connection: sqlite3.Connection, after: str, enabled: bool) -> tuple[Owner, ...]:  # noqa: FBT001 - as below
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM owners WHERE id > ? AND enabled = ? AND id IN (SELECT owner_id FROM records)"  # noqa: S608 - fixed columns
        " ORDER BY id LIMIT ?",
        (after, enabled, _PAGE),
    ).fetchall()
    return tuple(_read(connection, row) for row in rows)


def _set_enabled(connection: sqlite3.Connection, owner_id: str, enabled: bool) -> None:  # noqa: FBT001 - positional by the port of work
    connection.execute("UPDATE owners SET enabled = ? WHERE id = ?", (enabled, owner_id))
