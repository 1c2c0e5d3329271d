"""One deployment for the whole suite: Keystile, a service, and between them every gateway, each started once."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from gateways.echo import Echo
from gateways.programs import Caddy, Envoy, Gateway, HAProxy, Nginx, Traefik
from gateways.scene import Keystile, Place, Scene

if TYPE_CHECKING:
    from collections.abc import Iterator

GATEWAYS: tuple[type[Gateway], ...] = (Nginx, Caddy, Traefik, Envoy, HAProxy)


@pytest.fixture(scope="package")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Start everything; what a gateway lacks stops the tests with the command that installs it."""
    folder = tmp_path_factory.mktemp("gateways")
    with ExitStack() as stack:
        keystile = stack.enter_context(Keystile.on(folder))
        echo = stack.enter_context(Echo())
        scene = Scene(folder, keystile, echo)
        for program in GATEWAYS:
            wire = keystile.wires[program.convention]
            gateway = program.running(folder / program.name, keystile=wire.port, service=echo.port)
            scene.places[program.name] = Place(stack.enter_context(gateway), scene)
        yield scene


@pytest.fixture(params=[program.name for program in GATEWAYS])
def place(scene: Scene, request: pytest.FixtureRequest) -> Place:
    """Return one gateway after the other, with what stands behind it."""
    return scene.places[request.param]
