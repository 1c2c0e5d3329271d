"""Visits: how often one address may come to doors that cost something before anything is proved."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keystile.errors import TooManyFailuresError

if TYPE_CHECKING:
    from keystile.ports import FailureLimiter

VISITS_PER_MINUTE = 20


@dataclass(frozen=True, slots=True)
class Visits:
    """Counts visits as failures are counted, in a count of their own: every visit is one, whatever comes of it."""

    limiter: FailureLimiter

    async def count(self, address: str) -> None:
        """Count one visit, or raise a `TooManyFailuresError`."""
        seconds = await self.limiter.wait(address)
        if seconds:
            raise TooManyFailuresError(seconds)
        await self.limiter.fail(address, secrets.token_hex(8))
