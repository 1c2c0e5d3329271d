"""How a Redis client is made from a URL: plain, TLS, or whatever Sentinel says is the master."""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from keystile.errors import ConfigurationError

CONNECTIONS = 64
_CONNECT_TIMEOUT = 0.25
_SENTINEL_TIMEOUT = 0.1  # the first two may hang, and the third is still asked before the call's deadline
_SENTINEL_PORT = 26379
_SCHEMES = ("redis", "rediss")
_SENTINEL_SCHEMES = {"redis+sentinel": False, "rediss+sentinel": True}  # and whether the master speaks TLS

# Looks wrong: no socket timeout, so a hung server could be waited for without end. `RedisLink` bounds every call
# as a whole, and redis-py's own timeout makes one task per command (measured on Python 3.11: 54 µs of CPU a GET
# with it, 34 µs without). Depends on: nobody uses this client but through a `RedisLink`.
# No retries: the pool replaces connections that died while idle, and a write is not sent twice. RESP2, and no
# driver info: a new connection then needs no answer before its first command.
_OPTIONS: dict[str, Any] = {
    "socket_timeout": None,
    "socket_connect_timeout": _CONNECT_TIMEOUT,
    "protocol": 2,
    "driver_info": None,
}


def make_client(url: str) -> Redis:
    """Return a client for `redis://`, `rediss://` or `redis+sentinel://[:password@]h:p,h:p/name[/db]`.

    A Sentinel that wants a password of its own gets it from `?sentinel_password=…`. Nothing is connected yet.
    Raises a `ConfigurationError` that does not repeat the URL, which may hold a password.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme in _SENTINEL_SCHEMES:
            return _through_sentinel(parts)
        if parts.scheme in _SCHEMES:
            return Redis.from_url(url, max_connections=CONNECTIONS, retry=_no_retry(), **_OPTIONS)
    except ValueError:  # it may quote the URL, so it is not chained
        pass
    raise ConfigurationError(
        "a Redis URL is redis://[:password@]host:port/db, rediss://… or redis+sentinel://h:p,h:p/name"
    )


async def close_client(client: Redis) -> None:
    """Close all connections of a client made here, those to Sentinels too."""
    await client.aclose()
    pool = client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        await pool.sentinel_manager.aclose()


def _through_sentinel(parts: SplitResult) -> Redis:
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    name, _, db = parts.path.strip("/").partition("/")
    if not name:
        raise ValueError("no master name")
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        [_address(host) for host in hosts.split(",")],
        sentinel_kwargs=_OPTIONS
        | {
            "retry": _no_retry(),
            "socket_timeout": _SENTINEL_TIMEOUT,
            "socket_connect_timeout": _SENTINEL_TIMEOUT,
            "password": parse_qs(parts.query).get("sentinel_password", [None])[0],
        },
    )
    client: Redis = sentinel.master_for(
        unquote(name),
        max_connections=CONNECTIONS,
        retry=_no_retry(),
        ssl=_SENTINEL_SCHEMES[parts.scheme],
        username=unquote(username) or None,
        password=unquote(password) or None,
        db=int(db or 0),
        **_OPTIONS,
    )
    return client


def _address(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("a Sentinel without a host")
    return parts.hostname, parts.port or _SENTINEL_PORT


def _no_retry() -> Retry:
    return Retry(NoBackoff(), 0)
