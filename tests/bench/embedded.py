"""A deployment on the embedded store, with keys put straight into its file."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.keyring import EVERYDAY, BulkKey, make_keys
from bench.machine import SERVER_CORE, pin
from keystile.adapters.sqlite.database import SqliteDatabase
from keystile.peppers import new_pepper
from stack import KeystileServer
from stack.ports import free_port

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

    from keystile.restrictions import Policy


@dataclass(frozen=True, slots=True)
class Embedded:
    """A running server with its *pepper* and data *folder*."""

    server: KeystileServer
    pepper: str
    folder: Path

    def add_keys(self, count: int, policy: Policy = EVERYDAY) -> list[BulkKey]:
        """Put that many keys, each of an owner of its own, into the store."""
        keys = make_keys(self.pepper, count, policy)
        asyncio.run(_store(self.folder / "keystile.db", keys))
        return keys


@contextmanager
def embedded(folder: Path, name: str, **settings: str) -> Iterator[Embedded]:
    """Serve an embedded store of its own on the server core, with *settings* beside the defaults."""
    port, pepper, data = free_port(), new_pepper("p1"), folder / name
    environment = {
        "KEYSTILE_DATA_DIR": str(data),
        "KEYSTILE_ISSUER": f"http://127.0.0.1:{port}/sts",
        "KEYSTILE_PEPPERS": pepper,
        **settings,
    }
    with KeystileServer(environment, log_path=folder / f"{name}.log", port=port) as server:
        pin(server, SERVER_CORE)
        yield Embedded(server, pepper, data)


async def _store(path: Path, keys: list[BulkKey]) -> None:
    database = SqliteDatabase(path)
    await database.open()
    try:
        await database.write(_insert, keys)
    finally:
        await database.close()


def _insert(connection: sqlite3.Connection, keys: list[BulkKey]) -> None:
    owners = {key.key_id: str(uuid.uuid4()) for key in keys}
    connection.executemany(
        "INSERT INTO owners (id, username) VALUES (?, ?)", [(owners[key.key_id], key.owner) for key in keys]
    )
    connection.executemany(
        "INSERT INTO records (owner_id, text) VALUES (?, ?)", [(owners[key.key_id], key.record) for key in keys]
    )
    connection.executemany(
        "INSERT INTO lookups (value, owner_id) VALUES (?, ?)", [(key.key_id, owners[key.key_id]) for key in keys]
    )
