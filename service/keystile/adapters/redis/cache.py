"""Verdicts in Redis: named by an HMAC of the key, sealed under a key derived from the API key and a pepper.

Redis is not trusted: an attacker who can read it learns nothing, one who can write to it can at most make us ask
Keycloak. A sealed value put back later is void by the log position inside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keystile.adapters.redis.floors import floor_name, read_floor
from keystile.adapters.redis.reads import Reads
from keystile.adapters.redis.seals import seal, unseal
from keystile.ports import Cached
from keystile.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from keystile.adapters.redis.link import RedisLink
    from keystile.changes import Floor
    from keystile.keys import ApiKey
    from keystile.peppers import Peppers


class RedisVerdictCache:
    """The `VerdictCache` all processes of a deployment share; values live for *ttl*.

    *on_tampering* is told, in words without a secret, of every value that was not ours.
    """

    def __init__(
        self, link: RedisLink, peppers: Peppers, ttl: timedelta, *, on_tampering: Callable[[str], None]
    ) -> None:
        self._link = link
        self._reads = Reads(link)
        self._peppers = peppers
        self._ttl_ms = int(ttl.total_seconds() * 1000)
        self._on_tampering = on_tampering

    async def get(self, key: ApiKey) -> Cached:
        """Return what is known of *key*; without a key id its floor is not, until `floor` is asked for it."""
        if key.key_id is None:
            (sealed,) = await self._reads.get(verdict_name(key))
            return Cached(self._open(key, sealed))
        sealed, floor = await self._reads.get(verdict_name(key), floor_name(key.key_id))
        return Cached(self._open(key, sealed), self._read_floor(key.key_id, floor))

    async def put(self, key: ApiKey, verdict: Verdict) -> None:
        """Keep *verdict*."""
        sealed = seal(self._seal(key), verdict.to_text().encode(), _associated(key))
        await self._link.command("SET", verdict_name(key), sealed, "PX", self._ttl_ms)

    async def floor(self, key_id: str) -> Floor | None:
        """Return the floor of that key."""
        (stored,) = await self._reads.get(floor_name(key_id))
        return self._read_floor(key_id, stored)

    def _open(self, key: ApiKey, sealed: bytes | None) -> Verdict | None:
        if sealed is None:
            return None
        try:
            verdict = Verdict.from_text(unseal(self._seal(key), sealed, _associated(key)))
        except (InvalidTag, ValueError, KeyError, TypeError):
            self._on_tampering(f"a cached verdict of {key.tag} does not open")
            return None
        if key.key_id is not None and verdict.record.key_id != key.key_id:
            self._on_tampering(f"a cached verdict of {key.tag} is about another key")
            return None
        return verdict

    def _read_floor(self, key_id: str, stored: bytes | None) -> Floor | None:
        if stored is None:
            return None
        floor = read_floor(stored, key_id, self._peppers)
        if floor is None:
            self._on_tampering(f"the floor of {key_id} is not signed by us")
        return floor

    def _seal(self, key: ApiKey) -> AESGCM:
        return AESGCM(self._peppers.current.cache_seal.digest(key.reveal().encode()))


def verdict_name(key: ApiKey) -> str:
    """Return the name under which the verdict on *key* is kept."""
    return f"keystile:v4:{key.name.hex()}"  # 4: the form of what is sealed


def _associated(key: ApiKey) -> bytes:
    return key.name + (key.key_id or key.tag).encode()
