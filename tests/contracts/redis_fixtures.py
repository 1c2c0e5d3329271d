"""Fixtures on a real Redis: one server for the whole run, emptied for each test, or one to break."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from redis.asyncio import Redis

from keystile.adapters.redis.client import make_client
from keystile.adapters.redis.link import RedisLink
from keystile.authority.breaker import Breaker
from stack import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

PATIENCE = 5.0  # seconds


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run one Redis for all tests that leave it as it was."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Empty the shared Redis and return its URL."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
        client.script_flush()
        client.config_resetstat()
    return redis_server.url


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run a Redis of this test's own, to stop, kill, freeze or misconfigure."""
    with RedisServer(tmp_path_factory.mktemp("own-redis")) as server:
        yield server


@pytest.fixture
async def link(redis_url: str) -> AsyncIterator[RedisLink]:
    """Link to the shared Redis, patiently: what is not about time must not fail on a busy machine."""
    link = RedisLink(make_client(redis_url), Breaker("Redis"), deadline=PATIENCE)
    yield link
    await link.aclose()


@pytest.fixture
async def own_link(own_redis: RedisServer) -> AsyncIterator[RedisLink]:
    """Link to the Redis that may be broken, as patiently."""
    link = RedisLink(make_client(own_redis.url), Breaker("Redis"), deadline=PATIENCE)
    yield link
    await link.aclose()


@pytest.fixture
async def quick_link(own_redis: RedisServer) -> AsyncIterator[RedisLink]:
    """Link to the Redis that may be broken, with the deadline of every day."""
    link = RedisLink.open(own_redis.url, Breaker("Redis"))
    yield link
    await link.aclose()


@pytest.fixture
async def raw(redis_url: str) -> AsyncIterator[Redis]:
    """Reach the shared Redis as an attacker does who can read and write it."""
    async with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
async def own_raw(own_redis: RedisServer) -> AsyncIterator[Redis]:
    """Reach in the same way the Redis that may be broken."""
    async with Redis.from_url(own_redis.url) as client:
        yield client
