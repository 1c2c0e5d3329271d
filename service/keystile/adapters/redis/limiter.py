"""Failed look-ups per client address, counted in Redis for the whole deployment.

Redis is not trusted: an attacker who can write to it can at most free or block addresses. Addresses and keys
stand in it only as HMACs. Out of reach, each process goes by its own count, which it keeps all the time.
"""

from __future__ import annotations

import time
from contextlib import suppress
from math import ceil
from typing import TYPE_CHECKING, Any

from cachetools import TTLCache
from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter

from keystile.errors import CannotTellError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystile.adapters.redis.link import RedisLink
    from keystile.peppers import Mac
    from keystile.ports import FailureLimiter


_ASKED_EVERY = 1.0  # seconds: what other processes counted is learnt that late, and costs no look-up a round trip
_MOST_CLIENTS = 50_000


class RedisFailureLimiter:
    """The `FailureLimiter` of a deployment: *failures* in *window* seconds, over a process's own, *near* one.

    *client_of* gives what is counted for an address; *mac* hides it and the keys' tags.
    """

    def __init__(
        self,
        link: RedisLink,
        mac: Mac,
        near: FailureLimiter,
        client_of: Callable[[str], str],
        *,
        failures: int,
        window: int = 60,
    ) -> None:
        self._link = link
        self._mac = mac
        self._near = near
        self._client_of = client_of
        self._window = window
        self._free: TTLCache[str, bool] = TTLCache(_MOST_CLIENTS, _ASKED_EVERY)
        self._item = RateLimitItemPerSecond(failures, multiples=window, namespace="failures")
        # The connections are the link's own: their options decide, the URL is not looked at.
        options: dict[str, Any] = {"connection_pool": link.client.connection_pool}
        storage = RedisStorage("redis://", implementation="redispy", key_prefix="keystile:limit", **options)
        self._windows = MovingWindowRateLimiter(storage)

    async def wait(self, address: str) -> int:
        """Return 0 or the seconds to wait. An address that spent all in this process is not asked about."""
        near = await self._near.wait(address)
        if near:
            return near
        client = self._client(address)
        if client in self._free:
            return 0
        try:
            stats = await self._link.bounded(self._windows.get_window_stats, self._item, client)
        except CannotTellError:
            return 0
        if stats.remaining > 0:
            self._free[client] = True
            return 0
        until: float = stats.reset_time
        return max(1, ceil(until - time.time()))

    async def fail(self, address: str, tag: str) -> None:
        """Count one failed look-up, once in a window for each address and tag."""
        await self._near.fail(address, tag)
        client = self._client(address)
        self._free.pop(client, None)
        with suppress(CannotTellError):
            marker = f"keystile:fail:{client}:{self._hidden('tag', tag)}"
            if await self._link.command("SET", marker, "1", "NX", "EX", self._window):
                await self._link.bounded(self._windows.hit, self._item, client)

    def _client(self, address: str) -> str:
        return self._hidden("client", self._client_of(address))

    def _hidden(self, kind: str, text: str) -> str:
        return self._mac.digest(f"{kind}:{text}".encode()).hex()[:32]
