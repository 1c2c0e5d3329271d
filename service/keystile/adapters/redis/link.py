"""The one way to Redis: every call is bounded in time, heeds the breaker, and fails with a `CannotTellError`.

Redis is not trusted to answer, nor with what it answers: an attacker who can write to it can at most make us ask
Keycloak, or delay a revocation by the freshness of a verdict.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from redis.exceptions import RedisError, ResponseError

from keystile.adapters.redis.client import CONNECTIONS, close_client, make_client
from keystile.errors import CannotTellError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from redis.asyncio import Redis

    from keystile.authority.breaker import Breaker

DEADLINE = 0.3  # seconds for one call, connecting included


class Script(Protocol):
    """A Lua script on the server: loaded again by itself where a flush or restart lost it."""

    async def __call__(self, keys: Sequence[str], *args: bytes | str | int) -> Any:  # noqa: ANN401 - what Lua returns
        """Run it, atomically, in one round trip."""
        ...


class RedisLink:
    """One Redis deployment as this process reaches it; all adapters of a process share one.

    Calls above the number of connections wait for their turn within their own deadline.
    """

    def __init__(self, client: Redis, breaker: Breaker, *, deadline: float = DEADLINE) -> None:
        self.client = client
        self._breaker = breaker
        self._deadline = deadline
        self._room = asyncio.Semaphore(CONNECTIONS)

    @classmethod
    def open(cls, url: str, breaker: Breaker) -> RedisLink:
        """Return the link to the Redis of that URL; it connects when first used."""
        return cls(make_client(url), breaker)

    async def command(self, *words: bytes | str | float) -> Any:  # noqa: ANN401 - what the command returns
        """Send one command and return its answer."""
        return await self.bounded(self.client.execute_command, *words)

    async def bounded(self, call: Callable[..., Awaitable[Any]], *args: Any) -> Any:  # noqa: ANN401 - any call there is
        """Await *call* of this link's client, or raise a `CannotTellError` when the deadline has passed.

        Looks wrong: a call is cancelled between its command and its answer, and the next user of that connection
        would read the wrong answer. redis-py closes a connection whose reading was interrupted. Depends on: its
        `read_response` doing so, which a test keeps true.
        """
        began_at = self._breaker.check()
        try:
            async with asyncio.timeout(self._deadline), self._room:
                answer = await call(*args)
        except ResponseError as error:  # read-only, out of memory, no right to: it said so in time
            self._breaker.succeeded(began_at)
            raise CannotTellError(f"Redis refused: {type(error).__name__}") from error
        except (RedisError, OSError, ValueError) as error:  # ValueError: what it sent is not Redis's protocol
            self._breaker.failed(began_at)
            raise CannotTellError(f"Redis is out of reach: {type(error).__name__}") from error
        self._breaker.succeeded(began_at)
        return answer

    def script(self, text: str) -> Script:
        """Return the Lua script *text*, ready to be called."""
        registered = self.client.register_script(text)

        async def run(keys: Sequence[str], *args: bytes | str | int) -> Any:  # noqa: ANN401 - what Lua returns
            return await self.bounded(registered, keys, args)

        return run

    async def aclose(self) -> None:
        """Close all connections."""
        await close_client(self.client)
