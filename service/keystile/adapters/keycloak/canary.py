"""The canary: a look-up value that is always there, so that finding nothing can be told from seeing nothing."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from keystile.errors import CannotTellError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from keystile.ports import Ticks

_TTL = 30.0  # seconds an earlier sight of the canary vouches for empty answers


class Canary:
    """Looks for the canary with *ask* when somebody needs to know, one query for all who ask at once."""

    def __init__(self, ask: Callable[[], Awaitable[bool]], *, alert: Callable[[str], None], ticks: Ticks) -> None:
        self._ask = ask
        self._alert = alert
        self._ticks = ticks
        self._turn = asyncio.Lock()
        self._seen_at = -math.inf
        self._missed_at = -math.inf

    async def vouch(self) -> None:
        """Return if an empty answer heard just now can be believed, else raise `CannotTellError`."""
        began_at = self._ticks()
        if began_at - self._seen_at < _TTL:
            return
        async with self._turn:
            if self._ticks() - self._seen_at < _TTL:
                return
            if self._missed_at < began_at:  # else somebody asked for us while we waited
                await self._look()
        if self._seen_at < began_at:
            raise CannotTellError("Keycloak answers, but does not show what is certainly there")

    async def _look(self) -> None:
        asked_at = self._ticks()
        try:
            found = await self._ask()
        except CannotTellError:
            self._missed_at = self._ticks()
            raise
        if found:
            self._seen_at = asked_at
            return
        self._missed_at = self._ticks()
        self._alert(
            "the canary is not found: the reader lost its role view-users, or the canary its look-up value;"
            " run 'keystile keycloak setup'"
        )
