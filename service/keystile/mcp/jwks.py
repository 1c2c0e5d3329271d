"""The issuer's public keys: kept for minutes, and asked for again at most once in a few seconds."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import jwt

from keystile.client.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystile.mcp.asking import Asking

ALGORITHMS = frozenset({"RS256", "ES256", "EdDSA"})  # those that Keystile signs with
FRESH_FOR = 300.0  # seconds: a key that was taken back is gone after that
KEPT_FOR = 900.0  # seconds, while the issuer does not answer
PAUSE = 5.0  # seconds between two questions, whatever tokens are shown
_MAX_KEYS = 20
_log = logging.getLogger(__name__)


class Jwks:
    """Gives public keys by their id.

    The attack: tokens with ids made up make a server ask its issuer for keys all day. So an id that is unknown, like a
    set that is old, is a reason to ask only once in `PAUSE`; until then it stays unknown.
    """

    def __init__(self, asking: Asking, clock: Callable[[], float] = time.monotonic) -> None:
        self._asking = asking
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_at = -KEPT_FOR
        self._ask_at = clock()
        self._lock = asyncio.Lock()

    async def key(self, key_id: str) -> jwt.PyJWK | None:
        """Return the key of that id, None if there is none that counts."""
        if key_id not in self._keys or self._age() >= FRESH_FOR:
            await self._read()
        return self._keys.get(key_id) if self._age() < KEPT_FOR else None

    def _age(self) -> float:
        return self._clock() - self._read_at

    async def _read(self) -> None:
        async with self._lock:
            now = self._clock()
            if now < self._ask_at:
                return
            self._ask_at = now + PAUSE
            try:
                answer = await self._asking.get("/jwks.json")
            except UnavailableError as error:
                _log.warning("no public keys: %s", error)
                return
            if answer.status != 200 or answer.document is None:  # noqa: PLR2004 - HTTP's
                _log.warning("no public keys: %s answers %s", self._asking.url, answer.said)
                return
            self._keys = _usable(answer.document.get("keys"))
            self._read_at = now


def _usable(documents: Any) -> dict[str, jwt.PyJWK]:  # noqa: ANN401 - JSON
    """Return the keys of a set that are for one of our algorithms; each names its own (RFC 8725, section 3.1)."""
    keys = {}
    for document in documents[:_MAX_KEYS] if isinstance(documents, list) else ():
        try:
            key = jwt.PyJWK.from_dict(document, algorithm=document["alg"])
        except (jwt.PyJWTError, KeyError, TypeError, ValueError, AttributeError):
            continue  # not for us
        if key.algorithm_name in ALGORITHMS and isinstance(key.key_id, str):
            keys[key.key_id] = key
    return keys
