"""Whether a JWT still counts: asked at Keystile (RFC 7662), so that a revocation bites before the JWT ends."""

from __future__ import annotations

import hashlib
import logging
import time
from typing import TYPE_CHECKING

from cachetools import LRUCache

from keystile.client.errors import KeystileClientError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystile.client.keys import KeySource
    from keystile.mcp.asking import Asking

_MAX_KEPT = 10_000  # JWTs
_log = logging.getLogger(__name__)


class Introspection:
    """Asks with the resource server's own *key*, which has the scope `introspect` and lists the resource.

    A yes is believed for *believed_for* seconds, counted from before it was asked for. Whatever is no yes is a no: no
    answer, no JSON, a key of ours that was revoked.
    """

    def __init__(
        self, asking: Asking, key: KeySource, believed_for: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._asking = asking
        self._key = key
        self._believed_for = believed_for
        self._clock = clock
        self._until: LRUCache[bytes, float] = LRUCache(_MAX_KEPT)

    async def is_active(self, token: str) -> bool:
        """Tell whether Keystile says that the JWT counts, for us."""
        name = hashlib.sha256(token.encode()).digest()
        asked_at = self._clock()
        if self._until.get(name, asked_at) > asked_at:
            return True
        if not await self._ask(token):
            self._until.pop(name, None)
            return False
        self._until[name] = asked_at + self._believed_for
        return True

    async def _ask(self, token: str) -> bool:
        try:
            answer = await self._asking.post("/introspect", {"token": token}, self._key().reveal())
        except KeystileClientError as error:
            _log.warning("a JWT is refused, for nobody says whether it counts: %s", error)
            return False
        if answer.status != 200 or answer.document is None:  # noqa: PLR2004 - HTTP's
            _log.warning("a JWT is refused: %s/introspect answers %s", self._asking.url, answer.said)
            return False
        return answer.document.get("active") is True
