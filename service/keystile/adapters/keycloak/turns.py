"""Taking turns: one writer per owner at a time, in this process and in the deployment.

Leases are not trusted to exclude everybody: whoever writes under one reads back what it wrote.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from cachetools import TTLCache

from keystile.errors import CannotTellError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from keystile.ports import Leases, Ticks

LEASE_TTL = 30.0  # seconds; outlives the longest request many times over
_START_UNTIL = 20.0  # seconds into a lease after which no request that writes is begun
_PATIENCE = 20.0  # seconds to wait for a turn
_URGENT_PATIENCE = 5.0
_REMEMBERED = 1000  # leases of our own that were left to end by themselves
_POLL = (0.01, 0.05)  # seconds between attempts at a lease, at random


@dataclass(slots=True)
class Turn:
    """One writer's turn. *unsettled*: a write may still be under way at the server, so the lease must stay.

    *locked* is False where somebody urgent went on without a lease. *until* is in ticks.
    """

    locked: bool
    until: float
    unsettled: bool = False

    def check(self, now: float) -> None:
        """Raise `CannotTellError` if the lease could end before a request begun *now* (ticks)."""
        if now > self.until:
            raise CannotTellError("Keycloak was too slow for the change to be made safely")


class Turns:
    """Hands out turns: first come, first served in this process, of which one at a time asks for the lease."""

    def __init__(self, leases: Leases, *, ticks: Ticks) -> None:
        self._leases = leases
        self._ticks = ticks
        self._queues: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._left: TTLCache[str, bool] = TTLCache(_REMEMBERED, LEASE_TTL, timer=ticks)

    @asynccontextmanager
    async def turn(self, owner_id: str, *, urgent: bool) -> AsyncIterator[Turn]:
        """Wait for a turn with that owner.

        Raises `CannotTellError` if it does not come within 20 s, or the leases are out of reach. Who is *urgent*
        waits 5 s and goes on without, at once if the lease was left behind by a write of ours in doubt.
        """
        queue = self._queues.setdefault(owner_id, asyncio.Lock())
        name, token, queued = f"owner:{owner_id}", None, False
        turn = Turn(locked=False, until=0.0)
        try:
            try:
                async with asyncio.timeout(_URGENT_PATIENCE if urgent else _PATIENCE):
                    queued = await queue.acquire()
                    token = None if urgent and name in self._left else await self._lease(name)
            except TimeoutError as error:
                if not urgent:
                    raise CannotTellError(f"owner {owner_id} is being changed by somebody else") from error
            except CannotTellError:
                if not urgent:
                    raise
            turn = Turn(locked=token is not None, until=self._ticks() + _START_UNTIL)
            yield turn
        finally:
            if turn.unsettled:
                self._left[name] = True
            elif token is not None:
                await self._leases.release(name, token)
            if queued:
                queue.release()

    async def _lease(self, name: str) -> str:
        while True:
            token = await self._leases.take(name, LEASE_TTL)
            if token is not None:
                return token
            await asyncio.sleep(random.uniform(*_POLL))  # noqa: S311 - to spread attempts
