"""Keystile told to end, or ended without a word: what was begun is finished, and nothing half-done is left."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

import pytest

from faults.asking import ask
from faults.faulty_world import AT_ONCE, SOON, NotDoneError
from faults.killing import run_and_kill
from stack import KeystileServer
from stack.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from faults.faulty_world import FaultyWorld, Held

_SLOWED = 0.7  # seconds each way to Keycloak: a look-up takes twice that
_CROWD = 8
_STARTS_IN = 1.0  # seconds from a command's start to its first word to a server
_STEPS = 6


@pytest.mark.parametrize("tell", [os.kill, os.killpg], ids=["the parent", "the whole group"])
def test_a_server_told_to_end_finishes_what_it_began(faulty: FaultyWorld, tell: Callable[[int, int], None]) -> None:
    """SIGTERM under load: /readyz says 503 until the end, and whoever heeds that is never cut off."""
    cold = [faulty.new_key() for _ in range(_CROWD)]
    environment = faulty.world.environment | {"KEYSTILE_WORKERS": "2", "KEYSTILE_DRAIN": "3s"}
    drains = threading.Event()
    with KeystileServer(environment, log_path=faulty.world.folder / "ended.log") as server:
        faulty.ask_until(faulty.known, 200, server=server)
        faulty.keycloak_wire.delay(_SLOWED)
        with ThreadPoolExecutor(3 * _CROWD) as crowd:
            known = [crowd.submit(_ask_until, drains, server, faulty.known) for _ in range(_CROWD)]
            slow = [crowd.submit(_ask, server, held) for held in cold]
            time.sleep(_SLOWED)  # all are on their way
            tell(server.pid, signal.SIGTERM)
            readiness = _readiness_until_the_end(server, drains)
        assert wait_until(server.has_ended, 2 * SOON)
    assert {one.result() for one in slow} == {200}
    assert {status for seen in known for status in seen.result()} <= {200, 503}
    assert readiness[-1:] == [503], readiness
    assert sorted(readiness) == readiness, "it was ready, then not, and stayed so"


def test_a_worker_that_dies_is_replaced(faulty: FaultyWorld) -> None:
    """SIGKILL for one of two workers: all is answered again within 5 s."""
    environment = faulty.world.environment | {"KEYSTILE_WORKERS": "2"}
    with KeystileServer(environment, log_path=faulty.world.folder / "workers.log") as server:
        faulty.ask_until(faulty.known, 200, server=server)
        os.kill(server.members()[-1].pid, signal.SIGKILL)  # workers are started last
        assert wait_until(lambda: all(faulty.status(faulty.known, server) == 200 for _ in range(20)), SOON)
        assert not server.has_ended()
        faulty.cuts.clear()  # of those the dead worker had taken


def test_a_killed_server_starts_whole(faulty: FaultyWorld) -> None:
    """SIGKILL under load: started again it accepts what is valid, and refuses what was revoked."""
    doomed = faulty.known_key()
    token = faulty.new_jwt(doomed)
    assert faulty.revoke(doomed).returncode == 0
    faulty.second.kill()
    faulty.second.start()
    assert faulty.status(faulty.known, faulty.second) == 200
    assert {faulty.status(held, faulty.second) for held in (doomed, token, faulty.dead)} == {401}


def test_a_revoke_that_is_killed_is_done_or_not_done(faulty: FaultyWorld) -> None:
    """SIGKILL at any moment of a revoke: the key lives everywhere, or is dead everywhere and in Keycloak, for good."""
    keys = [faulty.known_key() for _ in range(_STEPS)]
    with ThreadPoolExecutor(_STEPS) as killers:
        list(killers.map(lambda each: _revoke_and_kill(faulty, *each), enumerate(keys)))
    for held in keys:
        assert wait_until(partial(_is_settled, faulty, held), SOON), held.key.key_id
    alive = [held for held in keys if faulty.statuses(held) == {200}]
    for held in alive:
        assert faulty.revoke(held).returncode == 0
    for held in keys:
        assert wait_until(partial(_is_dead, faulty, held), SOON), held.key.key_id


def test_an_issue_that_is_killed_leaves_a_whole_key_or_none(faulty: FaultyWorld) -> None:
    """SIGKILL at any moment of an issue: who was told a key can use it; what is stored can be listed and revoked."""
    owners = [faulty.world.add_user() for _ in range(_STEPS)]
    with ThreadPoolExecutor(_STEPS) as killers:
        told = list(killers.map(lambda each: _issue_and_kill(faulty, *each), enumerate(owners)))
    for owner, document in zip(owners, told, strict=True):
        attributes = faulty.world.user(owner).get("attributes", {})
        assert len(attributes.get("apiKeys", [])) == len(attributes.get("apiKeyLookup", []))
        listed = json.loads(faulty.world.cli("keys", "list", "--owner", owner, "--json").stdout)["keys"]
        assert len(listed) == len(attributes.get("apiKeys", []))
        if document:
            assert [one["key_id"] for one in listed] == [document["key_id"]]
            assert faulty.world.verify(document["api_key"]).status_code == 200
        for one in listed:
            faulty.world.revoke(one["key_id"])


def _ask_until(over: threading.Event, server: KeystileServer, held: Held) -> list[int | None]:
    seen: list[int | None] = []
    while not over.is_set():
        seen.append(_ask(server, held))
    return seen


def _ask(server: KeystileServer, held: Held) -> int | None:
    """Return the status, None where the request was cut."""
    with suppress(OSError, HTTPException):
        return ask(server.port, "/sts/verify", {"Authorization": f"Bearer {held.text}"}).status
    return None


def _readiness_until_the_end(server: KeystileServer, drains: threading.Event) -> list[int]:
    """Ask /readyz as a load balancer does, until nobody answers; say when it *drains*."""
    seen: list[int] = []
    with suppress(OSError, HTTPException):
        while True:
            seen.append(ask(server.port, "/readyz").status)
            if seen[-1] != HTTPStatus.OK:
                drains.set()
            time.sleep(0.02)
    drains.set()
    return seen


def _revoke_and_kill(faulty: FaultyWorld, step: int, held: Held) -> None:
    with suppress(NotDoneError), faulty.truth.ending(held.key, bound=AT_ONCE):
        arguments = ("keys", "revoke", held.key.key_id, "--yes")
        told = run_and_kill(faulty.world.environment, _STARTS_IN + step, *arguments)
        NotDoneError.unless("revoked" in told)


def _issue_and_kill(faulty: FaultyWorld, step: int, owner: str) -> dict[str, Any]:
    arguments = ("keys", "issue", "--owner", owner, "--name", "laptop", "--json")
    told = run_and_kill(faulty.world.environment, _STARTS_IN + step, *arguments)
    try:
        document: dict[str, Any] = json.loads(told)
    except ValueError:
        return {}
    return document


def _is_settled(faulty: FaultyWorld, held: Held) -> bool:
    return faulty.statuses(held) == {200} or _is_dead(faulty, held)


def _is_dead(faulty: FaultyWorld, held: Held) -> bool:
    return faulty.statuses(held) == {401} and faulty.is_written(held)
