"""The tokens of the realm that were handed out, in Redis: sealed, a sorted set per key, each gone at its end.

Redis is not trusted: whoever can read it learns how many tokens of a key live, and needs a pepper to read one. Whoever
can write to it can hide tokens from a revoke: then they live to their end, minutes later.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from keystile.adapters.redis.seals import Name
from keystile.ports import HandedToken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystile.adapters.redis.link import RedisLink
    from keystile.peppers import Peppers

MOST = 256  # living tokens of one key: two in each process, for each audience and set of scopes
_CLOCKS_APART = 60  # seconds
# KEYS: the set. ARGV: now, the end, the sealed token, how many may live, for how long the set is kept.
_ADD = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
if not redis.call('ZSCORE', KEYS[1], ARGV[3]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[4]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[3])
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[5]) then redis.call('EXPIRE', KEYS[1], ARGV[5]) end
return 1
"""


class RedisHandedTokens:
    """The `HandedTokens` of a deployment."""

    def __init__(self, link: RedisLink, peppers: Peppers) -> None:
        self._link = link
        self._seal = Name(peppers, "handed")
        self._add = link.script(_ADD)

    async def add(self, key_id: str, token: HandedToken, now: float) -> bool:
        """Keep *token* until its end."""
        kept_for = max(1, int(token.expires_at - now) + _CLOCKS_APART)
        words = (str(now), str(token.expires_at), self._sealed(key_id, token), MOST, kept_for)
        return bool(await self._add([_set(key_id)], *words))

    async def of(self, key_id: str, now: float) -> tuple[HandedToken, ...]:
        """Return those that open and have not ended."""
        members: list[bytes] = await self._link.command("ZRANGEBYSCORE", _set(key_id), f"({now}", "+inf")
        opened = (self._seal.open(member, key_id) for member in members)
        return tuple(_read(text) for text in opened if text is not None)

    async def remove(self, key_id: str, tokens: Sequence[HandedToken]) -> None:
        """Forget these; what an older pepper sealed goes by itself."""
        if tokens:
            await self._link.command("ZREM", _set(key_id), *(self._sealed(key_id, token) for token in tokens))

    def _sealed(self, key_id: str, token: HandedToken) -> str:
        return self._seal.seal(json.dumps([token.text, token.gen, token.expires_at]), key_id)


def _set(key_id: str) -> str:
    return f"keystile:handed:{key_id}"


def _read(text: str) -> HandedToken:
    token, gen, expires_at = json.loads(text)
    return HandedToken(text=token, gen=gen, expires_at=expires_at)
