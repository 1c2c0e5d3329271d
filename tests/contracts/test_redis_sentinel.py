"""Redis behind Sentinel: who is master is asked at each connection, and a failover is followed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

import pytest
import redis

from contracts.examples import PEPPERS
from contracts.test_redis_link import linked
from keystile.adapters.redis.log import RedisChangeLog
from keystile.changes import Change
from keystile.errors import CannotTellError
from stack import RedisServer
from stack.packages import command_path
from stack.ports import LOOPBACK
from stack.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keystile.ports import LogPage

_CONFIGURATION = """\
bind {host}
port {port}
sentinel monitor main {host} {master_port} 1
sentinel auth-pass main {password}
sentinel down-after-milliseconds main 300
sentinel failover-timeout main 2000
"""


class Sentinel(Server):
    """A Sentinel that watches one master, alone."""

    name: ClassVar[str] = "sentinel"
    ready_within: ClassVar[float] = 10
    stop_within: ClassVar[float] = 5

    def __init__(self, directory: Path, master: RedisServer) -> None:
        super().__init__(None, directory / "sentinel.log")
        self._configuration = directory / "sentinel.conf"
        self._configuration.write_text(
            _CONFIGURATION.format(host=LOOPBACK, port=self.port, master_port=master.port, password=master.password)
        )

    def replicas(self) -> int:
        """Count the replicas it could promote."""
        with redis.Redis(port=self.port) as client:
            return int(client.sentinel_master("main")["num-slaves"])

    def _command(self) -> list[str]:
        return [command_path("redis-server", "redis-server"), str(self._configuration), "--sentinel"]

    def _is_ready(self) -> bool:
        try:
            with redis.Redis(port=self.port, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


@pytest.fixture
def sentinel(tmp_path: Path, own_redis: RedisServer) -> Iterator[Sentinel]:
    with Sentinel(tmp_path, own_redis) as sentinel:
        yield sentinel


@pytest.fixture
def replica(tmp_path_factory: pytest.TempPathFactory, own_redis: RedisServer) -> Iterator[RedisServer]:
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("repl-diskless-sync-delay", 0)  # else the first copy waits 5 s for other replicas
    with RedisServer(tmp_path_factory.mktemp("replica"), password=own_redis.password) as server:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("masterauth", own_redis.password)
            client.replicaof(LOOPBACK, own_redis.port)
        with redis.Redis.from_url(own_redis.url, socket_timeout=30) as client:
            client.config_set("masterauth", own_redis.password)
            client.wait(1, 20_000)
        yield server


async def test_hung_sentinel_does_not_hide_the_next(own_redis: RedisServer, sentinel: Sentinel) -> None:
    """The master is found through any Sentinel that answers, although one before it hangs."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    hung = await asyncio.start_server(say_nothing, LOOPBACK, 0)
    hosts = f"{LOOPBACK}:{hung.sockets[0].getsockname()[1]},{LOOPBACK}:{sentinel.port}"
    async with hung, linked(f"redis+sentinel://:{own_redis.password}@{hosts}/main/2") as link:
        await link.command("SET", "name", "value")
    with redis.Redis.from_url(own_redis.url.removesuffix("0") + "2") as client:
        assert client.get("name") == b"value"


async def test_failover_is_followed_and_voids_positions(
    own_redis: RedisServer, replica: RedisServer, sentinel: Sentinel
) -> None:
    """After a failover the new master is used, and what was heard from the old one counts no longer."""
    async with linked(f"redis+sentinel://:{own_redis.password}@{LOOPBACK}:{sentinel.port}/main") as link:
        log = RedisChangeLog(link, PEPPERS)
        await log.append(Change(key_id="a"))
        position = (await log.read(None)).position
        async with asyncio.timeout(30):
            while await asyncio.to_thread(sentinel.replicas) < 1:
                pass
            await asyncio.to_thread(own_redis.kill)
            page = await first_page(log)
        assert page.position.incarnation != position.incarnation
        assert not (await log.read(position)).whole
    with redis.Redis.from_url(replica.url) as client:
        assert client.info("replication")["role"] == "master"


async def first_page(log: RedisChangeLog) -> LogPage:
    """Read until somebody answers."""
    while True:
        try:
            return await log.read(None)
        except CannotTellError:
            await asyncio.sleep(0.05)  # as the follower does between two reads
