"""The SQLite file of the embedded store: one connection in a thread of its own, transactions, schema.

Trusted as Keycloak is in the other store: whoever can write to this file can issue keys.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from keystile.errors import CannotTellError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

_BUSY_TIMEOUT = 2.0  # seconds to wait for another process's transaction
_BUSY_PAUSE = 0.01  # seconds between tries to open
_SCHEMA = """
CREATE TABLE IF NOT EXISTS owners (
    id TEXT PRIMARY KEY,
    username TEXT NOT NULL UNIQUE,
    enabled INTEGER NOT NULL DEFAULT 1,
    not_before INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS records (
    owner_id TEXT NOT NULL REFERENCES owners (id) ON DELETE CASCADE,
    text TEXT NOT NULL,
    PRIMARY KEY (owner_id, text)
) STRICT;
CREATE TABLE IF NOT EXISTS lookups (
    value TEXT NOT NULL,
    owner_id TEXT NOT NULL REFERENCES owners (id) ON DELETE CASCADE,
    PRIMARY KEY (value, owner_id)
) STRICT;
CREATE INDEX IF NOT EXISTS lookups_owner ON lookups (owner_id);
CREATE TABLE IF NOT EXISTS changes (
    at REAL NOT NULL,
    text TEXT NOT NULL,
    id INTEGER PRIMARY KEY AUTOINCREMENT
) STRICT;
CREATE INDEX IF NOT EXISTS changes_at ON changes (at);
CREATE TABLE IF NOT EXISTS polled (one INTEGER PRIMARY KEY, at REAL NOT NULL, text TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS allowances (
    counter TEXT PRIMARY KEY,
    used INTEGER NOT NULL,
    until REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS allowances_until ON allowances (until);
CREATE TABLE IF NOT EXISTS incarnation (id TEXT PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS leases (
    name TEXT PRIMARY KEY,
    token TEXT NOT NULL,
    until REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS leases_until ON leases (until);
CREATE TABLE IF NOT EXISTS signing_notes (process TEXT PRIMARY KEY, at REAL NOT NULL, text TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS usage_counts (
    key_id TEXT NOT NULL,
    day TEXT NOT NULL,
    name TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (key_id, day, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS usage_counts_day ON usage_counts (day);
CREATE TABLE IF NOT EXISTS usage_last (
    key_id TEXT NOT NULL,
    earlier INTEGER NOT NULL,
    at REAL NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (key_id, earlier)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS usage_last_at ON usage_last (at);
CREATE TABLE IF NOT EXISTS usage_batches (id TEXT PRIMARY KEY, at REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS usage_since (one INTEGER PRIMARY KEY, at REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS event_batches (id TEXT PRIMARY KEY, at REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS events (
    at REAL NOT NULL,
    key_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    text TEXT NOT NULL,
    id INTEGER PRIMARY KEY AUTOINCREMENT
) STRICT;
CREATE INDEX IF NOT EXISTS events_key ON events (key_id, id);
CREATE INDEX IF NOT EXISTS events_owner ON events (owner, id);
CREATE INDEX IF NOT EXISTS events_at ON events (at);
"""


class SqliteDatabase:
    """One file, opened once per process; every piece of work is one transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite")
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open or create the file (0600). Raises `CannotTellError`."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._open)
        except (sqlite3.Error, OSError) as error:
            raise CannotTellError(f"the embedded store {self._path} cannot be opened: {error}") from error

    async def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown(wait=True)

    async def read(
        self,
        work: Callable[Concatenate[sqlite3.Connection, Arguments], Answer],
        *arguments: Arguments.args,
        **_named: Arguments.kwargs,
    ) -> Answer:
        """Return what *work* reads in one snapshot. Raises `CannotTellError`."""
        return await self._run("BEGIN", work, *arguments)

    async def write(
        self,
        work: Callable[Concatenate[sqlite3.Connection, Arguments], Answer],
        *arguments: Arguments.args,
        **_named: Arguments.kwargs,
    ) -> Answer:
        """Return what *work* returns after its changes are on disk; if it raises, nothing changed."""
        return await self._run("BEGIN IMMEDIATE", work, *arguments)

    async def _run(
        self, begin: str, work: Callable[Concatenate[sqlite3.Connection, ...], Answer], *arguments: object
    ) -> Answer:
        def transaction() -> Answer:
            connection = self._connection
            if connection is None:
                raise CannotTellError("the store is closed")
            with connection:
                connection.execute(begin)
                return work(connection, *arguments)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, transaction)
        except sqlite3.Error as error:
            raise CannotTellError(f"the embedded store failed: {error}") from error

    def _open(self) -> None:
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        self._connection = connection  # at once, so that it is closed whatever is wrong with the file
        end = time.monotonic() + _BUSY_TIMEOUT
        while True:
            try:
                _prepare(connection)
            except sqlite3.OperationalError:  # two that make one file: SQLite's own patience does not cover that
                if time.monotonic() >= end:
                    raise
                time.sleep(_BUSY_PAUSE)
            else:
                return


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # an acknowledged change survives a power cut
    connection.execute("PRAGMA foreign_keys = ON")
    connection.executescript(_SCHEMA)
    connection.execute(
        "INSERT INTO incarnation (id) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM incarnation)",
        (secrets.token_hex(8),),
    )
