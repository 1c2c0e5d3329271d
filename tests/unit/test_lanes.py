from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from keystile.authority.lanes import Lane
from keystile.errors import CannotTellError


async def enter(lane: Lane, caller: str, entered: asyncio.Event, leave: asyncio.Event) -> None:
    async with lane.turn(caller):
        entered.set()
        await leave.wait()


async def test_only_so_many_turns_run_at_once() -> None:
    """A third caller waits until one of two places is free, and then has it."""
    lane, leave = Lane(running=2, waiting=5, per_caller=5), asyncio.Event()
    entered = [asyncio.Event() for _ in range(3)]
    callers = [asyncio.create_task(enter(lane, "a", event, leave)) for event in entered]
    await asyncio.gather(entered[0].wait(), entered[1].wait())
    assert not entered[2].is_set()
    leave.set()
    await asyncio.gather(*callers)
    assert entered[2].is_set()


async def test_full_line_turns_callers_away() -> None:
    """Whoever finds the line full is told to come again, at once."""
    lane = Lane(running=1, waiting=1, per_caller=5, patience=60)
    async with lane.turn("a"):
        waiting = asyncio.create_task(lane.turn("b").__aenter__())
        await asyncio.sleep(0)
        with pytest.raises(CannotTellError, match="full"):
            await lane.turn("c").__aenter__()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_one_address_cannot_fill_the_line() -> None:
    """A caller has a share of the line; the others find room."""
    lane = Lane(running=5, waiting=5, per_caller=2)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(lane.turn("greedy"))
        with pytest.raises(CannotTellError):
            await stack.enter_async_context(lane.turn("greedy"))
        await stack.enter_async_context(lane.turn("modest"))


async def test_patience_ends() -> None:
    """Whoever waited too long is told to come again, and leaves no trace in the line."""
    lane = Lane(running=1, waiting=1, per_caller=5, patience=0)
    async with lane.turn("a"):
        for _ in range(5):
            with pytest.raises(CannotTellError, match="waited too long"):
                await lane.turn("b").__aenter__()
    async with lane.turn("b"):
        pass


@pytest.mark.parametrize("fault", [ValueError, asyncio.CancelledError])
async def test_place_is_given_back_whatever_happens(fault: type[BaseException]) -> None:
    """A turn that fails or is cancelled frees its place and its share, and its caller is forgotten."""
    lane = Lane(running=1, waiting=0, per_caller=1)
    for _ in range(3):
        with pytest.raises(fault):
            async with lane.turn("a"):
                raise fault
    assert not lane._callers  # noqa: SLF001 - the counter must not grow with every address ever seen


async def test_caller_who_leaves_the_line_frees_its_place() -> None:
    """A client that hangs up while waiting is no longer in line."""
    lane = Lane(running=1, waiting=1, per_caller=1, patience=60)
    async with lane.turn("a"):
        for _ in range(3):
            waiting = asyncio.create_task(lane.turn("b").__aenter__())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
    async with lane.turn("b"):
        pass


async def test_a_place_rests_as_long_as_it_was_told() -> None:
    """After a turn the place stays empty for a multiple of its length, so that a flood leaves most to others."""
    loop = asyncio.get_running_loop()
    lane = Lane(running=1, waiting=10, per_caller=10, rest=3.0)
    async with lane.turn("192.0.2.1"):
        await asyncio.sleep(0.05)
    left_at = loop.time()
    async with lane.turn("192.0.2.1"):
        assert loop.time() - left_at >= 0.14
