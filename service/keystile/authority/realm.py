"""Watching the realm as a whole: "sign out all" in Keycloak ends every JWT that was handed out before."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from keystile.changes import EVERY_OWNER, Change
from keystile.errors import CannotTellError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from keystile.authority.follower import Follower
    from keystile.authority.memory import ChangeMemory
    from keystile.ports import Clock

_log = structlog.get_logger(__name__)
PAUSE = 3.0  # seconds: the bound for changes made in Keycloak is 5 s


class RealmWatch:
    """Reads the realm's `notBefore` in every process; once it rises, every owner is read anew."""

    def __init__(
        self, read: Callable[[], Awaitable[int]], follower: Follower, memory: ChangeMemory, *, clock: Clock
    ) -> None:
        self._read = read
        self._follower = follower
        self._memory = memory
        self._clock = clock
        self._not_before: int | None = None
        self._unread = False

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                await self.look()
            except CannotTellError as error:
                _log.debug("the realm cannot be read", why=str(error))
            await asyncio.sleep(PAUSE)

    async def look(self) -> None:
        """Read it once. Raises `CannotTellError`."""
        try:
            not_before = await self._read()
        except CannotTellError:
            self._unread = self._not_before is None  # what is read of owners meanwhile lacks the realm's word
            raise
        risen = self._unread if self._not_before is None else not_before > self._not_before
        self._not_before, self._unread = not_before, False
        if risen:
            self._memory.overhear({EVERY_OWNER})  # here at once, whether or not the log can be told
            await self._follower.announce(Change(owner_id=EVERY_OWNER, at=self._clock().timestamp()))
