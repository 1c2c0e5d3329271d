"""One store behind three Keystiles, one for each way of telling method and path; all gateways before them."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from gateways.gateway import GATEWAYS
from gateways.upstream import Upstream
from stack import KeystileServer
from stack.ports import free_port
from stories.api import ADMIN_KEY
from stories.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateways.gateway import Gateway


@dataclass(frozen=True)
class Guarded:
    """A gateway, the world of the Keystile it asks, and what it guards."""

    gateway: Gateway
    world: World
    upstream: Upstream

    def issue(self, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of a key
        """Issue a key, to an owner of its own, whose name has to be encoded in a header."""
        answer = httpx.post(
            f"{self.world.server.url}/sts/api/v1/keys",
            headers={"Authorization": f"Bearer {ADMIN_KEY}"},
            json={"owner": f"zoë {os.urandom(4).hex()}", "name": "laptop", "scopes": ["read"], **fields},
        )
        assert answer.status_code == 201, answer.text
        return dict(answer.json())


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the settings that all Keystiles of these tests share."""
    folder = tmp_path_factory.mktemp("guarded")
    return {
        "KEYSTILE_DATA_DIR": str(folder / "data"),
        "KEYSTILE_ISSUER": f"http://127.0.0.1:{free_port()}/sts",
        "KEYSTILE_TRUSTED_PROXIES": "127.0.0.1/32",
        "KEYSTILE_AUDIT_LOG": str(folder / "audit.log"),
        "KEYSTILE_FAILURES_PER_MINUTE": "1000",
        "KEYSTILE_ADMIN_KEY": ADMIN_KEY,
    }


@pytest.fixture(scope="session")
def worlds(store: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, World]]:
    """Serve the store three times."""
    made: dict[str, World] = {}
    for kind in sorted({each.forwarded for each in GATEWAYS}):
        folder = tmp_path_factory.mktemp(kind)
        environment = {**store, "KEYSTILE_FORWARDED_HEADERS": kind}
        made[kind] = World(KeystileServer(environment, log_path=folder / "keystile.log"), environment, folder)
    try:
        for world in made.values():
            world.server.start()
        yield made
    finally:
        for world in made.values():
            world.server.stop()


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    """Run what is guarded."""
    with Upstream() as running:
        yield running


@pytest.fixture(scope="session")
def everyone(
    worlds: dict[str, World], upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Guarded]]:
    """Run all gateways."""
    with ExitStack() as stack:
        running: dict[str, Guarded] = {}
        for kind in GATEWAYS:
            world, folder = worlds[kind.forwarded], tmp_path_factory.mktemp(kind.name)
            gateway = kind(folder, keystile=world.server.port, upstream=upstream.port)
            running[kind.name] = Guarded(stack.enter_context(gateway), world, upstream)
        yield running


@pytest.fixture(params=[kind.name for kind in GATEWAYS])
def guarded(request: pytest.FixtureRequest, everyone: dict[str, Guarded]) -> Guarded:
    """Return one gateway after the other; the upstream has seen nothing yet."""
    chosen = everyone[request.param]
    chosen.upstream.take()
    return chosen


@pytest.fixture(scope="session")
def key(everyone: dict[str, Guarded]) -> dict[str, Any]:
    """Issue a key that is good at every gateway."""
    return everyone["nginx"].issue()
