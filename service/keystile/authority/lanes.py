"""Lanes: bounded queues in front of the directory, so that a flood of unknown keys waits in line, not in Keycloak."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from keystile.clients import client_of
from keystile.errors import CannotTellError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Lane:
    """At most *running* turns at a time, *waiting* callers in line, *per_caller* of them from one address.

    Whoever has waited *patience* seconds, or finds the line full, is told to come again. After a turn its place stays
    empty for *rest* times as long as the turn took: of what the directory can do, the rest is for others.
    """

    def __init__(
        self, *, running: int, waiting: int, per_caller: int, patience: float = 3.0, rest: float = 0.0
    ) -> None:
        self._rest = rest
        self._places = asyncio.Semaphore(running)
        self._room = running + waiting
        self._per_caller = per_caller
        self._patience = patience
        self._callers: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        """Hold a place while the block runs. Raises `CannotTellError`."""
        caller = client_of(caller)
        if self._callers.total() >= self._room or self._callers[caller] >= self._per_caller:
            raise CannotTellError("the line of look-ups is full")
        self._callers[caller] += 1
        try:
            await self._wait()
            loop = asyncio.get_running_loop()
            began_at = loop.time()
            try:
                yield
            finally:
                if self._rest:
                    loop.call_later((loop.time() - began_at) * self._rest, self._places.release)
                else:
                    self._places.release()
        finally:
            self._callers[caller] -= 1
            self._callers += Counter()  # drops callers at zero: the counter stays as small as the line

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await self._places.acquire()
        except TimeoutError as error:
            raise CannotTellError("waited too long for a look-up") from error
