from __future__ import annotations

import asyncio

import pytest

from keystile.authority.flights import Flights
from keystile.errors import CannotTellError


class Landing:
    """A look-up that lands when told to."""

    def __init__(self) -> None:
        self.started = 0
        self.may_land = asyncio.Event()

    async def __call__(self) -> int:
        """Answer how often a look-up was started."""
        self.started += 1
        await self.may_land.wait()
        return self.started

    async def fail(self) -> int:
        """Fail when told to."""
        await self()
        raise CannotTellError("down")


async def test_callers_of_one_name_share_a_look_up() -> None:
    """Two names are two look-ups; ten callers of one name are one."""
    flights, landing = Flights[int](), Landing()
    callers = [asyncio.create_task(flights.once(name, landing)) for name in ["a"] * 10 + ["b"]]
    await asyncio.sleep(0)
    landing.may_land.set()
    answers = await asyncio.gather(*callers)
    assert len(set(answers[:10])) == 1
    assert landing.started == 2


async def test_next_caller_starts_anew() -> None:
    """A flight that has landed answers nobody who comes later."""
    flights, landing = Flights[int](), Landing()
    landing.may_land.set()
    assert [await flights.once("a", landing) for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("later", range(6))
async def test_nobody_gets_an_answer_from_before(later: int) -> None:
    """However late in the loop's turn a caller comes, a look-up that has ended before is not its answer."""
    flights, ended = Flights[int](), 0

    async def look_up() -> int:
        nonlocal ended
        ended += 1
        return ended

    first = asyncio.create_task(flights.once("a", look_up))
    for _ in range(later):
        await asyncio.sleep(0)
    before = ended
    assert await flights.once("a", look_up) > before
    await first


async def test_failure_reaches_every_caller_and_is_not_kept() -> None:
    """All who wait hear of a failure; the next one tries again."""
    flights, landing = Flights[int](), Landing()
    callers = [asyncio.create_task(flights.once("a", landing.fail)) for _ in range(3)]
    await asyncio.sleep(0)
    landing.may_land.set()
    failures = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(failure) for failure in failures] == [CannotTellError] * 3
    assert await flights.once("a", landing) == 2


async def test_failure_nobody_waits_for_is_no_noise() -> None:
    """If all callers left, a failing flight ends in silence."""
    flights, landing = Flights[int](), Landing()
    caller = asyncio.create_task(flights.once("a", landing.fail))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    landing.may_land.set()
    assert await flights.once("b", landing) == 2


async def test_too_many_flights_are_nobodys_refusal() -> None:
    """A flood of names is told to come again; those under way are still shared."""
    flights, landing = Flights[int](limit=1), Landing()
    first = asyncio.create_task(flights.once("a", landing))
    await asyncio.sleep(0)
    with pytest.raises(CannotTellError):
        await flights.once("b", landing)
    joined = asyncio.create_task(flights.once("a", landing))
    await asyncio.sleep(0)
    landing.may_land.set()
    assert (await first, await joined) == (1, 1)
