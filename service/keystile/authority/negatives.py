"""Refusals worth remembering for a moment: keys that were just found to be unknown or wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cachetools import TTLCache

from keystile.errors import KeyRefusedError, Reason

if TYPE_CHECKING:
    from keystile.authority.memory import ChangeMemory
    from keystile.changes import Position
    from keystile.keys import ApiKey
    from keystile.ports import Ticks

_REMEMBERED = frozenset({Reason.UNKNOWN, Reason.WRONG_SECRET, Reason.SECRET_ENDED})


class Negatives:
    """A bounded store of its own, so that a flood of unknown keys cannot push known ones out of a cache.

    An entry lives at most 60 s, counts only while the log is heard, and ends with any change of its key; a key
    without an id in it is forgotten with the next change of anything.
    """

    def __init__(self, memory: ChangeMemory, *, ticks: Ticks, size: int = 20_000, ttl: float = 60.0) -> None:
        self._memory = memory
        self._entries: TTLCache[bytes, tuple[Reason, Position]] = TTLCache(size, ttl, timer=ticks)

    def add(self, key: ApiKey, refusal: KeyRefusedError, position: Position) -> None:
        """Remember *refusal* if it is one of those, found when the log stood at *position*."""
        if refusal.reason in _REMEMBERED:
            self._entries[key.name] = (refusal.reason, position)

    def check(self, key: ApiKey) -> None:
        """Raise the remembered refusal of *key*, if there is one that counts."""
        entry = self._entries.get(key.name) if self._entries else None
        if entry is None:
            return
        reason, position = entry
        same = self._memory.counts(position, key.key_id) if key.key_id else self._memory.nothing_since(position)
        if same:
            raise KeyRefusedError(reason, key_id=key.key_id)
