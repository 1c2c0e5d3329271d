"""Notes on signing keys in SQLite: a row for each process on the data folder."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from keystile.changes import sign, unsign
from keystile.ports import Notes
from keystile.signing_keys import Noted, SigningNote, kept

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from keystile.adapters.sqlite.database import SqliteDatabase
    from keystile.peppers import Peppers

_Row = tuple[float, str]


class SqliteSigningNotes:
    """The `SigningNotes` of the embedded store; *wall* is the clock its ages are told by, in epoch seconds."""

    def __init__(self, database: SqliteDatabase, peppers: Peppers, *, wall: Callable[[], float] = time.time) -> None:
        self._database = database
        self._peppers = peppers
        self._wall = wall

    async def note(self, note: SigningNote) -> Notes:
        """See `SigningNotes.note`."""
        known, rows = await self._database.write(_note, note.process, sign(note, self._peppers), self._wall())
        return self._notes(rows, known=known)

    async def read(self) -> Notes:
        """See `SigningNotes.read`."""
        return self._notes(await self._database.read(_read), known=False)

    def _notes(self, rows: list[_Row], *, known: bool) -> Notes:
        now = self._wall()
        noted = [(unsign(SigningNote, text, self._peppers), max(0.0, now - at)) for at, text in rows]
        good = tuple(Noted(note, age) for note, age in noted if note is not None)
        return Notes(good, known=known, dropped=len(noted) - len(good))


def _note(connection: sqlite3.Connection, process: str, text: str, now: float) -> tuple[bool, list[_Row]]:
    taken = connection.execute("DELETE FROM signing_notes WHERE process = ?", (process,))
    connection.execute("INSERT INTO signing_notes (process, at, text) VALUES (?, ?, ?)", (process, now, text))
    ages = [(max(0.0, now - at), name) for name, at in connection.execute("SELECT process, at FROM signing_notes")]
    left = kept(ages)
    connection.executemany(
        "DELETE FROM signing_notes WHERE process = ?", [(name,) for _, name in ages if name not in left]
    )
    return taken.rowcount == 1, _read(connection)


def _read(connection: sqlite3.Connection) -> list[_Row]:
    return connection.execute("SELECT at, text FROM signing_notes").fetchall()
