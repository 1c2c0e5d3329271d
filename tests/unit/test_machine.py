from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from machine import MOST_LIVE, KeyLives, Side, Stand
from machine.clocks import pyjwt_by
from unit.builders import rules
from unit.world import open_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from unit.world import Process, World

STEPS = (0.5, 1.0, 30.0, 299.0, 900.0, 7_300.0)  # seconds


def test_keys_live_as_the_model_says(tmp_path: Path) -> None:
    """Whatever is done to keys, in two processes, is true of every secret, JWT and record ever handed out."""
    run_state_machine_as_test(
        lambda: KeyLives(lambda: a_stand(Path(mkdtemp(dir=tmp_path))), STEPS),  # type: ignore[arg-type]  # what makes one will do
        settings=settings(max_examples=45, stateful_step_count=50),
    )


@asynccontextmanager
async def a_stand(folder: Path) -> AsyncIterator[Stand]:
    """Stand two processes over an embedded store, with a clock that moves only when told to."""
    async with open_world(folder) as world:
        with pyjwt_by(world.time.now):
            yield Stand(
                sides=[a_side(world, world.here), a_side(world, await world.start())],
                store=world.store,
                owners=("alice", "bob"),
                clock=world.time.now,
                pass_time=lambda seconds: pass_time(world, seconds),
                restart=lambda side: restart(world, side),
                lose_log=world.log.lose,
            )


async def pass_time(world: World, seconds: float) -> None:
    """Let time pass, and every process forget what is too old to matter."""
    await world.pass_time(seconds)
    for process in world.processes:
        process.memory.forget(world.time.now().timestamp())


async def restart(world: World, side: Side) -> Side:
    """Start a process in the place of another."""
    world.processes.remove(next(process for process in world.processes if process.verifier is side.verifier))
    return a_side(world, await world.start())


def a_side(world: World, process: Process) -> Side:
    lifecycle = replace(process.lifecycle, max_keys_per_owner=MOST_LIVE)
    return Side(
        lifecycle=lifecycle,
        alterations=replace(process.alterations, lifecycle=lifecycle),
        verifier=process.verifier,
        jwts=process.jwts,
        exchange=world.exchange,
        rules=rules(),
    )
