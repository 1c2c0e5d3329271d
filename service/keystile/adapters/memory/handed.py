"""The tokens of the realm that were handed out, inside one process."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystile.ports import HandedToken


class InProcessHandedTokens:
    """A `HandedTokens` that is gone with the process; it keeps *most* living tokens of one key."""

    def __init__(self, most: int = 256) -> None:
        self._most = most
        self._kept: defaultdict[str, dict[HandedToken, None]] = defaultdict(dict)

    async def add(self, key_id: str, token: HandedToken, now: float) -> bool:
        """Keep *token* until its end."""
        living = dict.fromkeys(await self.of(key_id, now))
        self._kept[key_id] = living
        if token not in living and len(living) >= self._most:
            return False
        living[token] = None
        return True

    async def of(self, key_id: str, now: float) -> tuple[HandedToken, ...]:
        """Return those that have not ended."""
        return tuple(token for token in self._kept[key_id] if token.expires_at > now)

    async def remove(self, key_id: str, tokens: Sequence[HandedToken]) -> None:
        """Forget these."""
        for token in tokens:
            self._kept[key_id].pop(token, None)
