from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from machine import MOST_LIVE, KeyLives, Side, Stand
from pathlib import Path
from unit.builders import rules
from unit.world import open_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from unit.world import Process, World

STEPS = (0.5, 1.0, 30.0, 299.0, 900.0, 7_300.0, 90_000.0)  # seconds


def test_keys_live_as_the_model_says(tmp_path: Path) -> None:
    """Whatever is done to keys, in two processes, is true of every secret, JWT and record ever handed out."""
    run_state_machine_as_test(
        lambda: KeyLives(lambda: a_stand(Path(mkdtemp(dir=tmp_path))), STEPS),
        settings=settings(max_examples=40, stateful_step_count=30),
    )


@asynccontextmanager
async def a_stand(folder: Path) -> AsyncIterator[Stand]:
    """Stand two processes over an embedded store, with a clock that moves only when told to."""
    async with open_world(folder) as world:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("jwt.api_jwt.datetime", clock_of(world.time.now))

            async def restart(side: Side | None) -> Side:
                if side is not None:
                    gone = next(each for each in world.processes if each.verifier is side.verifier)
                    world.processes.remove(gone)
                return a_side(world, await world.start())

            yield Stand(
                sides=[a_side(world, world.here), await restart(None)],
                store=world.store,
                owners=("alice", "bob"),
                clock=world.time.now,
                pass_time=world.pass_time,
                restart=restart,
                lose_log=world.log.lose,
            )


def a_side(world: World, process: Process) -> Side:
    return Side(
        lifecycle=replace(process.lifecycle, max_keys_per_owner=MOST_LIVE),
        alterations=replace(process.alterations, max_keys_per_owner=MOST_LIVE),
        verifier=process.verifier,
        jwts=process.jwts,
        exchange=world.exchange,
        rules=rules(),
    )


def clock_of(now: Callable[[], datetime]) -> type[datetime]:
    """Return a `datetime` by whose `now` PyJWT judges."""

    class Moment(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:  # noqa: ANN401, ARG003 - as datetime has it
            return now()

    return Moment
