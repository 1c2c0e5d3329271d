"""Visits: how often one address may come to doors that cost something before anything is proved."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from keystile.clients import client_of
from keystile.errors import TooManyFailuresError

if TYPE_CHECKING:
    from keystile.ports import FailureLimiter

VISITS_PER_MINUTE = 20


@dataclass(frozen=True, slots=True)
class Visits:
    """Counts visits as failures are counted, in a count of their own: every visit is one, whatever comes of it.

    Those of one client take turns: else all that come at once would find room before any of them is counted.
    """

    limiter: FailureLimiter
    _turns: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary, init=False)

    async def count(self, address: str) -> None:
        """Count one visit, or raise a `TooManyFailuresError`."""
        async with self._turns.setdefault(client_of(address), asyncio.Lock()):
            seconds = await self.limiter.wait(address)
            if seconds:
                raise TooManyFailuresError(seconds)
            await self.limiter.fail(address, secrets.token_hex(8))
