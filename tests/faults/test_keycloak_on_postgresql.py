"""Keycloak really killed, and its database really gone: known keys are answered, and nothing acknowledged is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from keycloak import KeycloakError

from faults.faulty_world import SOON, FaultyWorld, faulty_world
from faults.realm import renew_keys
from stack import KeycloakServer, PostgresServer, RedisServer
from stack.processes import soon, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

_RECONNECTS_WITHIN = 60.0  # seconds that Keycloak itself may take; Keystile's five begin when it answers


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """Run a database to take away."""
    with PostgresServer(tmp_path_factory.mktemp("fault-postgres")) as server:
        yield server


@pytest.fixture(scope="module")
def lasting(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyWorld]:
    """Serve one deployment on a Keycloak that keeps its realm over a restart."""
    folder = tmp_path_factory.mktemp("lasting")
    database = postgres.create_database("keycloak")
    with (
        KeycloakServer(folder / "keycloak", database=database) as keycloak,
        RedisServer(folder / "redis") as redis,  # its own: a log belongs to one deployment
        faulty_world(keycloak, redis, folder) as world,
    ):
        yield world


@pytest.fixture
def faulty(lasting: FaultyWorld) -> Iterator[FaultyWorld]:
    """Return it whole; nothing that was answered meanwhile may be wrong."""
    lasting.world.wait_for_polls()  # else a key issued a moment ago is read anew just when nobody can read it
    lasting.make_known(lasting.known)
    lasting.forget()
    yield lasting
    lasting.mend()
    lasting.check()


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_without_its_database_keycloak_costs_nobody_a_key(
    faulty: FaultyWorld, postgres: PostgresServer, how: str
) -> None:
    """PostgreSQL gone: known keys are answered, cold ones get 503, never 401, a revoke bites and lands afterwards."""
    cold, doomed = faulty.new_key(), faulty.known_key()
    with faulty.watched(faulty.known, faulty.dead, doomed):
        if how == "killed":
            postgres.kill()
        else:
            postgres.suspend()
        try:
            assert faulty.statuses(cold) == {503}
            assert faulty.statuses(faulty.known) == {200}
            assert faulty.revoke(doomed).returncode == 0
            assert soon(lambda: faulty.statuses(doomed) == {401})
        finally:
            if how == "killed":
                postgres.start()
            else:
                postgres.resume()
        assert wait_until(lambda: _finds_users(faulty), _RECONNECTS_WITHIN), "Keycloak does not come back"
        for server in faulty.servers:
            faulty.ask_until(cold, 200, server=server)
    assert wait_until(lambda: faulty.is_written(doomed), SOON)
    assert faulty.statuses(doomed) == {401}


def test_keycloak_killed_and_started_with_new_keys(faulty: FaultyWorld) -> None:
    """Known keys are answered all the time, cold ones after the start, and what was revoked meanwhile is written."""
    cold, doomed = faulty.new_key(), faulty.known_key()
    token = faulty.known_jwt(faulty.known)
    with faulty.watched(faulty.known, token, doomed):
        renew_keys(faulty.world.admin)
        faulty.world.keycloak.kill()
        assert faulty.statuses(cold) == {503}
        assert faulty.revoke(doomed).returncode == 0
        faulty.world.keycloak.start()
        for server in faulty.servers:
            faulty.ask_until(cold, 200, server=server)
    assert wait_until(lambda: faulty.is_written(doomed), SOON)
    assert faulty.statuses(doomed) == {401}


def _finds_users(faulty: FaultyWorld) -> bool:
    try:
        return bool(faulty.world.admin.get_users({"max": 1}))
    except KeycloakError:  # it may even answer 400: "Cannot parse the JSON"
        return False
