"""Keycloak broken in every way it breaks: known keys work, others get 503, and a revoke bites at once all the same."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from faults.faulty_world import PATIENCE, SOON
from faults.realm import keep_events, other_secret, renew_keys, without_role
from stack.processes import soon, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from faults.faulty_world import FaultyWorld
    from stack.proxy import Proxy

    Fault = Callable[[FaultyWorld], AbstractContextManager[None]]

READER = "keystile-reader"


@contextmanager
def stopped(faulty: FaultyWorld) -> Iterator[None]:
    """Freeze the server: it keeps its connections."""
    faulty.world.keycloak.suspend()
    try:
        yield
    finally:
        faulty.world.keycloak.resume()


@contextmanager
def cut(faulty: FaultyWorld) -> Iterator[None]:
    """Refuse connections."""
    with _wire(faulty, lambda wire: wire.cut()):
        yield


@contextmanager
def half_open(faulty: FaultyWorld) -> Iterator[None]:
    """Let Keycloak do what it is told, and nobody hear of it."""
    with _wire(faulty, lambda wire: wire.half_open()):
        yield


@contextmanager
def slow(faulty: FaultyWorld) -> Iterator[None]:
    """Let every answer take five seconds."""
    with _wire(faulty, lambda wire: wire.delay(2.5)):
        yield


@contextmanager
def broken(faulty: FaultyWorld) -> Iterator[None]:
    """Answer 500 to everything."""
    with _wire(faulty, lambda wire: wire.answer(500)):
        yield


@contextmanager
def secret_changed(faulty: FaultyWorld) -> Iterator[None]:
    """Answer 401: the reader has another secret now, and its tokens are worth nothing."""
    with other_secret(faulty.world.admin, READER):
        yield


@contextmanager
def role_taken(faulty: FaultyWorld) -> Iterator[None]:
    """Answer 403 or show nothing: the reader may not see users any more."""
    with without_role(faulty.world.admin, READER, "view-users"):
        yield


AWAY = (stopped, cut, half_open, slow, broken, secret_changed, role_taken)


def _name(fault: Fault) -> str:
    return fault.__name__


@pytest.mark.parametrize("fault", AWAY, ids=_name)
def test_while_keycloak_is_away_known_keys_work_and_revokes_bite(faulty: FaultyWorld, fault: Fault) -> None:
    """Known keys and JWTs are answered, cold keys get 503, a revoke bites in a second, and all is well 5 s later."""
    cold, doomed = faulty.new_key(), faulty.known_key()
    token, doomed_token = faulty.known_jwt(faulty.known), faulty.known_jwt(doomed)
    with faulty.watched(faulty.known, token, faulty.dead, doomed, doomed_token):
        with fault(faulty):
            assert faulty.statuses(faulty.known, token) == {200}
            assert faulty.statuses(cold) == {503}
            assert faulty.statuses(faulty.dead, faulty.forged) == {401}
            owner = cold.key.owner.username
            with ThreadPoolExecutor(1) as thread:
                issuing = thread.submit(faulty.world.cli, "keys", "issue", "--owner", owner, "--name", "x")
                revoked = faulty.revoke(doomed, "--json")
                issued = issuing.result()
            assert (revoked.returncode, '"pending": true' in revoked.stdout) == (0, True), revoked
            assert (issued.returncode, "try again" in issued.stderr) == (1, True), issued
            assert soon(lambda: faulty.statuses(doomed, doomed_token) == {401})
            assert {faulty.readiness(server)[0] for server in faulty.servers} == {200}
        for server in faulty.servers:
            faulty.ask_until(cold, 200, server=server)
        assert wait_until(faulty.is_whole, SOON)
        assert faulty.statuses(doomed, doomed_token) == {401}
    assert wait_until(lambda: faulty.is_written(doomed), SOON), "the revoke never landed in Keycloak"


@pytest.mark.parametrize("fault", [stopped, slow, broken], ids=_name)
def test_a_crowd_of_cold_keys_does_not_pile_up(faulty: FaultyWorld, fault: Fault) -> None:
    """A hundred callers with keys nobody can look up are told so in bounded time, and known keys do not wait."""
    cold = faulty.new_key()
    with faulty.watched(faulty.known), fault(faulty), ThreadPoolExecutor(100) as crowd:
        began_at = time.monotonic()
        statuses = set(crowd.map(lambda _: faulty.status(cold), range(300)))
        assert statuses == {503}
        assert time.monotonic() - began_at < 3 * PATIENCE
        began_at = time.monotonic()
        assert faulty.status(faulty.known) == 200
        assert time.monotonic() - began_at < 2.5, "it stood in line with the others, for three seconds"
    faulty.ask_until(cold, 200)


def test_new_realm_keys_stop_nothing(faulty: FaultyWorld) -> None:
    """When Keycloak's own tokens are worth nothing any more, new ones are fetched: cold keys, too, are answered."""
    cold, doomed = faulty.new_key(), faulty.known_key()
    with faulty.watched(faulty.known, doomed):
        renew_keys(faulty.world.admin)
        assert faulty.statuses(faulty.known, cold) == {200}
        assert faulty.revoke(doomed).returncode == 0
    assert wait_until(faulty.is_whole, SOON)
    assert faulty.world.issue(cold.key.owner.username)["status"] == "active"


def test_events_switched_off_end_what_they_vouched_for(faulty: FaultyWorld) -> None:
    """While events are off keys work, an alert tells, and when they are back what happened meanwhile is seen in 5 s."""
    disabled, cold = faulty.known_key(), faulty.new_key()
    token = faulty.known_jwt(disabled)
    with faulty.watched(faulty.known, disabled, token):
        keep_events(faulty.world.admin, kept=False)
        try:
            assert wait_until(lambda: "events" in faulty.readiness(faulty.second)[1], 45), "nobody noticed"
            with faulty.truth.ending(disabled.key.owner, bound=30.0):
                faulty.world.admin.update_user(disabled.key.owner.subject, {"enabled": False})
            assert faulty.statuses(faulty.known, cold) == {200}
        finally:
            keep_events(faulty.world.admin, kept=True)
        assert wait_until(lambda: faulty.statuses(disabled, token) == {401}, SOON)
        assert wait_until(faulty.is_whole, SOON)
    assert "keeps no admin events" in (faulty.world.folder / "audit.log").read_text()


@contextmanager
def _wire(faulty: FaultyWorld, breaking: Callable[[Proxy], None]) -> Iterator[None]:
    breaking(faulty.keycloak_wire)
    try:
        yield
    finally:
        faulty.keycloak_wire.resume()
