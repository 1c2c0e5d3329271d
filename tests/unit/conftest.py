"""Fixtures of the unit tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from keystile.authority.proof import BcryptWorkers
from unit.served import Client, Prepared, prepare, serving
from unit.world import World, open_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

# No deadline: other work on the machine must not fail a test. Fixtures shared by all examples are so on purpose.
settings.register_profile("unit", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("unit")


@pytest.fixture
def workers() -> Iterator[BcryptWorkers]:
    """Run the bcrypt threads of one test."""
    pool = BcryptWorkers(threads=1)
    yield pool
    pool.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Open a verifier over a real embedded store, a log and caches in this process, and clocks that stand still."""
    async with open_world(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Make one embedded store with keys in every state, to be copied by each test that serves it."""
    return prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
async def client(prepared: Prepared, tmp_path: Path) -> AsyncIterator[Client]:
    """Serve a copy of the prepared store with its default settings."""
    async with serving(prepared, tmp_path) as opened:
        yield opened
