"""Leases inside one process."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keystile.ports import Ticks


class InProcessLeases:
    """The `Leases` of a deployment that is one process."""

    def __init__(self, *, ticks: Ticks = time.monotonic) -> None:
        self._ticks = ticks
        self._held: dict[str, tuple[str, float]] = {}

    async def take(self, name: str, ttl: float) -> str | None:
        """Return a token if the lease was free."""
        if self._holder(name) is not None:
            return None
        token = secrets.token_hex(16)
        self._held[name] = token, self._ticks() + ttl
        return token

    async def renew(self, name: str, token: str, ttl: float) -> bool:
        """Keep a lease that is still ours."""
        if self._holder(name) != token:
            return False
        self._held[name] = token, self._ticks() + ttl
        return True

    async def release(self, name: str, token: str) -> None:
        """Give a lease back if it is still ours."""
        if self._holder(name) == token:
            del self._held[name]

    def _holder(self, name: str) -> str | None:
        token, until = self._held.get(name, (None, 0.0))
        return token if self._ticks() < until else None
