"""Redis broken in every way it breaks: every key keeps working, a revoke is obeyed, and nobody waits long."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import redis

from faults.faulty_world import SOON
from stack.ports import LOOPBACK, free_port
from stack.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from faults.faulty_world import FaultyWorld
    from stack.proxy import Proxy

    Fault = Callable[[FaultyWorld], AbstractContextManager[None]]


@contextmanager
def killed(faulty: FaultyWorld) -> Iterator[None]:
    """Kill the server."""
    faulty.world.redis.kill()
    try:
        yield
    finally:
        faulty.world.redis.start()


@contextmanager
def stopped(faulty: FaultyWorld) -> Iterator[None]:
    """Freeze the server: it keeps its connections."""
    faulty.world.redis.suspend()
    try:
        yield
    finally:
        faulty.world.redis.resume()


@contextmanager
def slow(faulty: FaultyWorld) -> Iterator[None]:
    """Let every answer take two seconds and more."""
    with _wires(faulty, lambda wire: wire.delay(2.0)):
        yield


@contextmanager
def half_open(faulty: FaultyWorld) -> Iterator[None]:
    """Let Redis do what it is told, and nobody hear of it."""
    with _wires(faulty, lambda wire: wire.half_open()):
        yield


@contextmanager
def read_only(faulty: FaultyWorld) -> Iterator[None]:
    """Make it the replica of a master that is nowhere."""
    with redis.Redis.from_url(faulty.world.redis.url) as client:
        client.replicaof(LOOPBACK, free_port())
        try:
            yield
        finally:
            client.replicaof("NO", "ONE")


@contextmanager
def out_of_memory(faulty: FaultyWorld) -> Iterator[None]:
    """Have every write refused."""
    with redis.Redis.from_url(faulty.world.redis.url) as client:
        client.config_set("maxmemory", 1)
        try:
            yield
        finally:
            client.config_set("maxmemory", 0)


@contextmanager
def wrong_password(faulty: FaultyWorld) -> Iterator[None]:
    """Change the password, and end all connections."""
    with redis.Redis.from_url(faulty.world.redis.url) as client:
        client.config_set("requirepass", "another")
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        try:
            yield
        finally:
            client.config_set("requirepass", faulty.world.redis.password)


@contextmanager
def flushed(faulty: FaultyWorld) -> Iterator[None]:
    """Empty it."""
    with redis.Redis.from_url(faulty.world.redis.url) as client:
        client.flushall()
    yield


@contextmanager
def restarted(faulty: FaultyWorld) -> Iterator[None]:
    """Stop it and start it, with its data."""
    faulty.world.redis.restart()
    yield


AWAY = (killed, stopped, slow, half_open, read_only, out_of_memory, wrong_password)
BRIEF = (flushed, restarted)


def _name(fault: Fault) -> str:
    return fault.__name__


@pytest.mark.parametrize("fault", AWAY, ids=_name)
def test_while_redis_is_away_keys_work_and_revokes_bite(faulty: FaultyWorld, fault: Fault) -> None:
    """Known and cold keys and JWTs are answered, a revoke is obeyed, issuing says when, and all is well 5 s later."""
    cold, doomed = faulty.new_key(), faulty.known_key()
    token, doomed_token = faulty.known_jwt(faulty.known), faulty.known_jwt(doomed)
    with faulty.watched(faulty.known, token, faulty.dead, doomed, doomed_token):
        with fault(faulty):
            assert faulty.statuses(faulty.known, token, cold) == {200}
            assert faulty.statuses(faulty.dead, faulty.forged) == {401}
            with ThreadPoolExecutor(1) as thread:
                issuing = thread.submit(
                    faulty.world.cli, "keys", "issue", "--owner", cold.key.owner.username, "--name", "x"
                )
                revoked = faulty.revoke(doomed)
                assert revoked.returncode == 0, revoked.stderr
                issued = issuing.result()
            assert (issued.returncode, "try again" in issued.stderr) == (1, True), issued
            for server in faulty.servers:
                faulty.ask_until(doomed, 401, server=server)
                assert faulty.readiness(server)[0] == 200
        assert wait_until(faulty.is_whole, SOON)
        assert faulty.statuses(doomed, doomed_token) == {401}
    assert faulty.world.issue(cold.key.owner.username)["status"] == "active"


@pytest.mark.parametrize("fault", BRIEF, ids=_name)
def test_what_redis_forgot_is_no_harm(faulty: FaultyWorld, fault: Fault) -> None:
    """After a flush or a restart every key works at once, and what was revoked before stays so, its JWTs too."""
    doomed, cold = faulty.known_key(), faulty.new_key()
    token = faulty.known_jwt(doomed)
    with faulty.watched(faulty.known, faulty.dead, doomed, token):
        assert faulty.revoke(doomed).returncode == 0
        with fault(faulty):
            assert faulty.statuses(faulty.known, cold) == {200}
            assert faulty.statuses(faulty.dead) == {401}
            assert wait_until(faulty.is_whole, SOON)
            assert faulty.statuses(faulty.dead, doomed, token) == {401}
    assert faulty.world.issue(cold.key.owner.username)["status"] == "active"


@contextmanager
def _wires(faulty: FaultyWorld, breaking: Callable[[Proxy], None]) -> Iterator[None]:
    for wire in faulty.redis_wires:
        breaking(wire)
    try:
        yield
    finally:
        for wire in faulty.redis_wires:
            wire.resume()
