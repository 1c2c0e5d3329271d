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
        not_before = await self._read()
        if self._not_before is not None and not_before > self._not_before:
            self._memory.overhear({EVERY_OWNER})  # here at once, whether or not the log can be told
            await self._follower.announce(Change(owner_id=EVERY_OWNER, at=self._clock().timestamp()))
        self._not_before = not_before
