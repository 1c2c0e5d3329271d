"""Leases in Redis: one value per lease, gone by itself at its end.

Redis is not trusted to keep them: a flush or failover can give one lease to two holders, so whoever writes under
a lease reads back what it wrote.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from keystile.errors import CannotTellError

if TYPE_CHECKING:
    from keystile.adapters.redis.link import RedisLink

_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


class RedisLeases:
    """The `Leases` of a deployment."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._renew = link.script(_RENEW)
        self._release = link.script(_RELEASE)

    async def take(self, name: str, ttl: float) -> str | None:
        """Return a token if the lease was free. One whose answer was lost stays taken until *ttl* has passed."""
        token = secrets.token_hex(16)
        taken = await self._link.command("SET", _name(name), token, "NX", "PX", _ms(ttl))
        return token if taken else None

    async def renew(self, name: str, token: str, ttl: float) -> bool:
        """Keep a lease that is still ours."""
        return bool(await self._renew([_name(name)], token, _ms(ttl)))

    async def release(self, name: str, token: str) -> None:
        """Give a lease back if it is still ours."""
        with suppress(CannotTellError):
            await self._release([_name(name)], token)


def _name(name: str) -> str:
    return f"keystile:lease:{name}"


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))
