"""Watching the directory's events from every process while the change log is away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from keystile.authority.polling import MAX_GAP, SET_BACK
from keystile.changes import EVERY_OWNER, EVERY_ROLE
from keystile.errors import CannotTellError, EventsLostError

if TYPE_CHECKING:
    from keystile.authority.memory import ChangeMemory
    from keystile.ports import OwnerEvents, Ticks

_log = structlog.get_logger(__name__)
PAUSE = 0.1  # seconds between looks at whether the log is heard
SILENCE = 0.25  # seconds without the log after which we look ourselves: before its word ends, at 0.7 s
REST = 0.4  # seconds between two looks: each vouches for 1 s


class EventWatch:
    """Keeps verdicts counting without the log: every change made through Keystile is an event in the directory too.

    *events* is this process's own: what the elected poller was told does not count as told here.
    """

    def __init__(self, events: OwnerEvents, memory: ChangeMemory, *, ticks: Ticks) -> None:
        self._events = events
        self._memory = memory
        self._ticks = ticks
        self._since: float | None = None
        self._missed = False

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            if self._memory.hears_log(SILENCE):
                self._since = None
                await asyncio.sleep(PAUSE)
                continue
            try:
                await self.look()
            except CannotTellError as error:
                _log.debug("neither the log nor the events can be followed", why=str(error))
            await asyncio.sleep(REST)

    async def look(self) -> None:
        """Read what happened since the log was heard, or since the last look. Raises `CannotTellError`."""
        asked_at = self._ticks()
        since = self._since
        if since is None and self._memory.polled is not None:
            since = self._memory.polled.polled_at
        if not self._memory.followed_within(MAX_GAP):
            since = None  # too much to catch up with
        try:
            page = await self._events.poll(since)
        except EventsLostError:
            self._missed = True
            raise
        gap = since is None or self._missed or since > page.polled_at + SET_BACK
        named = page.owner_ids | page.own_ids | ({EVERY_ROLE} if page.realm_wide else set())
        self._memory.overhear({EVERY_OWNER} if gap else named)
        self._memory.watched(asked_at)
        self._since, self._missed = page.polled_at, False
