"""Redis failed over to its replica by Sentinel: nobody is refused for it, and nothing dead comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from contracts.test_redis_sentinel import Sentinel
from faults.faulty_world import SOON
from stack import KeystileServer, RedisServer
from stack.ports import LOOPBACK
from stack.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faults.faulty_world import FaultyWorld


@pytest.fixture
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run a Redis to fail."""
    with RedisServer(tmp_path_factory.mktemp("master")) as server:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("repl-diskless-sync-delay", 0)
            client.config_set("masterauth", server.password)
        yield server


@pytest.fixture
def replica(tmp_path_factory: pytest.TempPathFactory, master: RedisServer) -> Iterator[RedisServer]:
    """Run its replica, in step with it."""
    with RedisServer(tmp_path_factory.mktemp("fault-replica"), password=master.password) as server:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("masterauth", master.password)
            client.replicaof(LOOPBACK, master.port)
        with redis.Redis.from_url(master.url, socket_timeout=30) as client:
            assert client.wait(1, 20_000) == 1
        yield server


@pytest.fixture
def sentinel(tmp_path_factory: pytest.TempPathFactory, master: RedisServer, replica: RedisServer) -> Iterator[Sentinel]:
    """Run the Sentinel that watches both."""
    with Sentinel(tmp_path_factory.mktemp("sentinel"), master) as sentinel:
        assert wait_until(lambda: sentinel.replicas() == 1, 30), replica.port
        yield sentinel


def test_a_failover_loses_no_key_and_revives_none(
    faulty: FaultyWorld,
    master: RedisServer,
    replica: RedisServer,
    sentinel: Sentinel,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Through a failover keys and JWTs are answered; what was revoked before and while it happened stays dead."""
    folder = tmp_path_factory.mktemp("failover")
    more = {
        "KEYSTILE_REDIS_URL": f"redis+sentinel://:{master.password}@{LOOPBACK}:{sentinel.port}/main",
        "KEYSTILE_DATA_DIR": str(folder),
    }
    with KeystileServer(faulty.world.environment | more, log_path=folder / "keystile.log") as server:
        keys = [faulty.new_key() for _ in range(4)]
        known, dead, doomed, cold = keys
        for held in (known, dead, doomed):
            faulty.ask_until(held, 200, server=server)
        assert faulty.revoke(dead, environment=more).returncode == 0
        master.kill()
        revoked = faulty.revoke(doomed, bound=SOON, environment=more)
        assert revoked.returncode == 0, revoked.stderr
        for _ in range(20):
            assert {faulty.status(held, server) for held in (known, cold)} == {200}
            assert {faulty.status(held, server) for held in (dead, doomed)} <= {401, 200}  # the truth knows when
        assert wait_until(lambda: faulty.readiness(server) == (200, []), 10)
        assert {faulty.status(held, server) for held in (dead, doomed)} == {401}
    with redis.Redis.from_url(replica.url) as client:
        assert client.info("replication")["role"] == "master"
    assert wait_until(lambda: faulty.is_written(doomed), SOON)
