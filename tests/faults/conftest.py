"""One deployment to break for all faults, whole again after each test and judged by the truth at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from faults.faulty_world import faulty_world
from stack import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faults.faulty_world import FaultyWorld
    from stack import KeycloakServer


@pytest.fixture(scope="session")
def fault_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run a Redis to break."""
    with RedisServer(tmp_path_factory.mktemp("fault-redis")) as server:
        yield server


@pytest.fixture(scope="session")
def shared_world(
    keycloak_server: KeycloakServer, fault_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultyWorld]:
    """Serve one deployment through wires to all faults."""
    with faulty_world(keycloak_server, fault_redis, tmp_path_factory.mktemp("faults")) as world:
        yield world


@pytest.fixture
def faulty(shared_world: FaultyWorld) -> Iterator[FaultyWorld]:
    """Return the deployment, whole; nothing that was answered meanwhile may be wrong."""
    shared_world.make_known(shared_world.known)
    shared_world.forget()
    yield shared_world
    shared_world.mend()
    shared_world.check()
