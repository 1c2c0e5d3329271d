"""Following the change log: reading it ten times a second, and saying what this process changes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from keystile.errors import CannotTellError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystile.authority.memory import ChangeMemory
    from keystile.changes import Change, PollMark
    from keystile.ports import ChangeLog, Clock, Ticks

_log = structlog.get_logger(__name__)
POLL_PATIENCE = 5.0  # seconds for two polls; there is one every second
PAUSE = 0.1  # seconds between reads: a revoke is heard everywhere within about 0.2 s


class Follower:
    """Keeps a `ChangeMemory` up to date, and speaks for this process."""

    def __init__(
        self, log: ChangeLog, memory: ChangeMemory, *, clock: Clock, ticks: Ticks, alert: Callable[[str], None]
    ) -> None:
        self._change_log = log
        self._memory = memory
        self._clock = clock
        self._ticks = ticks
        self._alert = alert
        self._reading = asyncio.Lock()
        self._forgotten: list[Change] = []

    async def announce(self, change: Change) -> None:
        """Append *change*; it is obeyed here at once and everywhere within a second. Raises `CannotTellError`."""
        position = await self._change_log.append(change)
        self._memory.said(change, position)

    async def mark_polled(self, mark: PollMark) -> None:
        """Say how far admin events were followed. Raises `CannotTellError`."""
        await self._change_log.mark_polled(mark)  # taken in as everybody does: when it is heard

    async def read(self) -> None:
        """Read what is new. Raises `CannotTellError`."""
        async with self._reading:
            asked_at = self._ticks()
            page = await self._change_log.read(self._memory.heard)
            self._forgotten += self._memory.heard_page(page, asked_at, self._clock().timestamp())
            if page.dropped:
                self._alert("entries of the change log with a wrong MAC were dropped")
            while self._forgotten:  # a new log does not know of these kills: each is kept until it was said again
                await self.announce(self._forgotten[0])
                del self._forgotten[0]

    async def next_poll(self) -> None:
        """Wait for a poll of events that began after now. Raises `CannotTellError` if none comes."""
        # The first mark that is new may be of a poll that was under way before we were asked; the second is not.
        # Marks are counted, not compared with our clock: Keycloak's may go differently.
        end, seen = self._ticks() + POLL_PATIENCE, self._memory.polled
        for _ in range(2):
            while self._memory.polled == seen:
                if self._ticks() > end:
                    raise CannotTellError("events are not followed closely enough")
                await asyncio.sleep(PAUSE)
            seen = self._memory.polled

    async def run(self) -> None:
        """Follow until cancelled; what cannot be read now is read the next time."""
        reads = 0
        while True:
            try:
                await self.read()
            except CannotTellError as error:
                _log.debug("the change log is out of reach", why=str(error))
            reads += 1
            if reads % 600 == 0:
                self._memory.forget(self._clock().timestamp())
            await asyncio.sleep(PAUSE)
