"""A change log inside one process: the honest fake of the real ones, gone with the process."""

from __future__ import annotations

import secrets
import time
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING

from keystile.changes import Change, Floor, PollMark, Position
from keystile.ports import LogPage

if TYPE_CHECKING:
    from keystile.ports import Ticks


class InProcessChangeLog:
    """A `ChangeLog` that keeps entries for *retention*, and *floors* for ever."""

    def __init__(self, *, retention: timedelta = timedelta(hours=2), ticks: Ticks = time.monotonic) -> None:
        self.floors: dict[str, Floor] = {}
        self._retention = retention.total_seconds()
        self._ticks = ticks
        self._entries: deque[tuple[float, int, Change]] = deque()
        self._polled: PollMark | None = None
        self._trimmed = 0
        self._position = _beginning()

    async def append(self, change: Change) -> Position:
        """Append *change* and raise the floor it leaves behind."""
        self._position = Position(self._position.incarnation, self._position.offset + 1)
        self._entries.append((self._ticks(), self._position.offset, change))
        while self._ticks() - self._entries[0][0] > self._retention:
            _, self._trimmed, _ = self._entries.popleft()
        floor = change.floor
        if floor is not None:
            self.floors[floor.key_id] = max(floor, self.floors.get(floor.key_id, floor), key=_rank)
        return self._position

    async def mark_polled(self, mark: PollMark) -> None:
        """Keep *mark* unless a later one is kept already."""
        if self._polled is None or mark.polled_at >= self._polled.polled_at:
            self._polled = mark

    async def read(self, after: Position | None) -> LogPage:
        """Return everything after that position, or everything kept where that place is gone."""
        whole = after is None or self._holds(after)
        start = after.offset if after is not None and whole else 0
        changes = tuple(change for _, offset, change in self._entries if offset > start)
        return LogPage(self._position, changes, whole, self._polled)

    def lose(self) -> None:
        """Lose everything, as a flush does: the next incarnation begins."""
        self.floors.clear()
        self._entries.clear()
        self._polled = None
        self._trimmed = 0
        self._position = _beginning()

    def _holds(self, after: Position) -> bool:
        same_life = after.incarnation == self._position.incarnation
        return same_life and self._trimmed <= after.offset <= self._position.offset


def _beginning() -> Position:
    return Position(secrets.token_hex(8), 0)


def _rank(floor: Floor) -> tuple[bool, int, float]:
    return floor.dead, floor.gen, floor.until
