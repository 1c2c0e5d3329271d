"""Notes on signing keys inside one process: the honest fake of the real ones."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from keystile.ports import Notes
from keystile.signing_keys import Noted, SigningNote, kept

if TYPE_CHECKING:
    from keystile.ports import Ticks


class InProcessSigningNotes:
    """The `SigningNotes` of a deployment that is one process."""

    def __init__(self, *, ticks: Ticks = time.monotonic) -> None:
        self._ticks = ticks
        self._notes: dict[str, tuple[SigningNote, float]] = {}

    async def note(self, note: SigningNote) -> Notes:
        """See `SigningNotes.note`."""
        known = self._notes.pop(note.process, None) is not None
        self._notes[note.process] = note, self._ticks()
        return Notes(self._all(), known=known)

    async def read(self) -> Notes:
        """See `SigningNotes.read`."""
        return Notes(self._all())

    def lose(self) -> None:
        """Lose everything, as a flush does."""
        self._notes.clear()

    def _all(self) -> tuple[Noted, ...]:
        left = kept([(self._ticks() - at, name) for name, (_, at) in self._notes.items()])
        self._notes = {name: self._notes[name] for name in self._notes if name in left}
        return tuple(Noted(note, self._ticks() - at) for note, at in self._notes.values())
