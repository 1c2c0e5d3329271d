"""The machine of `machine` on a real Keycloak and Redis: two whole deployments that follow log and events."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from pydantic import SecretStr

from keystile.authority.proof import BcryptWorkers, Prover
from keystile.peppers import new_pepper
from keystile.settings import Settings, Store
from keystile.wiring import load_peppers, open_deployment
from machine import MOST_LIVE, KeyLives, Side, Stand
from machine.clocks import pyjwt_by

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from contracts.keycloak_fixtures import Realm

STEPS = (0.5, 30.0, 299.0)  # seconds


class Clock:
    """A clock that begins now, and moves only when told to: what ends, ends between two steps and in none."""

    def __init__(self) -> None:
        self._moment = datetime.now(UTC).replace(microsecond=0)
        self._passed = 0.0

    def now(self) -> datetime:
        """Return the moment."""
        return self._moment

    def monotonic(self) -> float:
        """Return ticks, which go on by themselves too: servers are waited for."""
        return time.monotonic() + self._passed

    async def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self._moment += timedelta(seconds=seconds)
        self._passed += seconds


@pytest.fixture
def clock() -> Iterator[Clock]:
    """Have deployments and PyJWT go by a clock of the test's. Keycloak, Redis and their adapters go by their own."""
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch, pyjwt_by(clock.now):
        for module in ("assembly", "wiring"):
            patch.setattr(f"keystile.{module}.now", clock.now)
        patch.setattr("keystile.assembly.time", clock)
        yield clock


@pytest.fixture
def workers() -> Iterator[BcryptWorkers]:
    pool = BcryptWorkers(threads=1)
    yield pool
    pool.close()


@dataclass
class Deployments:
    """As many deployments on one realm, Redis and folder as are opened; each is closed when it is replaced."""

    settings: Settings
    workers: BcryptWorkers
    running: dict[int, AsyncExitStack] = field(default_factory=dict)

    async def start(self) -> Side:
        """Open one more, whose new secrets cost little bcrypt."""
        stack = AsyncExitStack()
        one = await stack.enter_async_context(open_deployment(self.settings, serving=True))
        prover = Prover(load_peppers(self.settings), self.workers, cost=4)
        lifecycle = replace(one.lifecycle, prover=prover)
        self.running[id(one.verifier)] = stack
        return Side(
            lifecycle=lifecycle,
            alterations=replace(one.alterations, lifecycle=lifecycle),
            verifier=one.verifier,
            jwts=one.jwts,
            exchange=one.exchange,
            rules=one.rules,
        )

    async def restart(self, side: Side) -> Side:
        """Close one, and open another in its place."""
        await self.running.pop(id(side.verifier)).aclose()
        return await self.start()

    async def close(self) -> None:
        """Close all."""
        while self.running:
            await self.running.popitem()[1].aclose()


@asynccontextmanager
async def a_stand(realm: Realm, deployments: Deployments, clock: Clock) -> AsyncIterator[Stand]:
    """Stand two deployments over a realm, for two users nobody else knows."""
    async with realm.directory() as store:
        try:
            yield Stand(
                sides=[await deployments.start(), await deployments.start()],
                store=store,
                owners=tuple(str(realm.admin.get_user(realm.add_user())["username"]) for _ in range(2)),
                clock=clock.now,
                pass_time=clock.pass_time,
                restart=deployments.restart,
            )
        finally:
            await deployments.close()


def deployments_on(realm: Realm, redis_url: str, folder: Path, workers: BcryptWorkers) -> Deployments:
    wanted: dict[str, Any] = {
        "store": Store.KEYCLOAK,
        "data_dir": folder,
        "keycloak_url": realm.server.url,
        "keycloak_realm": realm.wanted.realm,
        "keycloak_reader_secret": SecretStr(realm.wanted.reader.secret),
        "keycloak_writer_secret": SecretStr(realm.wanted.writer.secret),
        "redis_url": SecretStr(redis_url),
        "peppers": SecretStr(new_pepper()),
        "signing_alg": "EdDSA",
        "max_keys_per_owner": MOST_LIVE,
        "failures_per_minute": 100_000,  # whoever presents every dead secret after each step is no guesser
    }
    return Deployments(Settings(**wanted), workers)


def test_keys_live_as_the_model_says_on_keycloak_and_redis(
    realm: Realm, redis_url: str, tmp_path: Path, workers: BcryptWorkers, clock: Clock
) -> None:
    """What is true of random lives of keys in one process is true in two, on the real stores."""
    deployments = deployments_on(realm, redis_url, tmp_path, workers)
    run_state_machine_as_test(
        lambda: KeyLives(lambda: a_stand(realm, deployments, clock), STEPS),  # type: ignore[arg-type]  # what makes one will do
        settings=settings(
            max_examples=9,
            stateful_step_count=16,
            deadline=None,
            phases=[Phase.generate],  # a failure is told as it was found: to make it shorter takes minutes here
        ),
    )
