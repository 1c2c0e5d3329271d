"""Fixtures of the unit tests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from keystile.authority.proof import BcryptWorkers
from keystile.settings import Settings, load_settings
from unit.crawled import Crawled, PagedDirectory, owners
from unit.served import Client, Prepared, prepare, serving
from unit.world import World, open_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from unit.environments import Load

# No deadline: other work on the machine must not fail a test. Fixtures shared by all examples are so on purpose.
settings.register_profile("unit", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("unit")


@pytest.fixture(autouse=True, scope="package")
def bare_environment() -> Iterator[None]:
    """Take away what this machine sets for a deployment of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("KEYSTILE_")]:
            patch.delenv(name)
        yield


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


@pytest.fixture(scope="package")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Make one embedded store with keys in every state, to be copied by each test that serves it."""
    return prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
async def client(prepared: Prepared, tmp_path: Path) -> AsyncIterator[Client]:
    """Serve a copy of the prepared store with its default settings."""
    async with serving(prepared, tmp_path) as opened:
        yield opened


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Return a function that loads the settings of an environment with these variables alone."""

    def with_environment(**variables: str) -> Settings:
        for name, value in variables.items():
            monkeypatch.setenv(f"KEYSTILE_{name}", value)
        return load_settings()

    return with_environment


@pytest.fixture
async def crawled(workers: BcryptWorkers) -> AsyncIterator[Crawled]:
    """Stand a fallback index, not crawled yet, beside five owners."""
    built = Crawled(PagedDirectory(*owners()), workers)
    yield built
    built.directory.may_page.set()
    await built.matches.close()
    await built.index.close()
