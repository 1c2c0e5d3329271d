"""Reads that share a round trip: each caller gets its own values, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from keystile.adapters.redis.reads import Reads
from keystile.errors import CannotTellError

if TYPE_CHECKING:
    from keystile.adapters.redis.link import RedisLink


class Link:
    """A link whose answers are held, counted, or fail."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, ...]] = []
        self.may_answer = asyncio.Event()
        self.fault: BaseException | None = None

    async def command(self, *words: str) -> list[bytes]:
        """Answer each name with itself."""
        self.commands.append(words)
        await self.may_answer.wait()
        if self.fault is not None:
            raise self.fault
        return [name.encode() for name in words[1:]]


def reads_of(link: Any) -> Reads:  # noqa: ANN401 - anything that takes commands
    return Reads(link)


async def asked(reads: Reads, count: int) -> list[asyncio.Task[list[bytes | None]]]:
    """Have that many callers ask for two values each."""
    tasks = [asyncio.create_task(reads.get(f"a{number}", f"b{number}")) for number in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_callers_of_one_moment_share_a_round_trip(link: RedisLink) -> None:
    """On the real server: values, absent ones and values of another type come to who asked for them."""
    await link.command("SET", "keystile:test:one", b"1")
    await link.command("RPUSH", "keystile:test:list", b"x")
    reads = Reads(link)
    answers = await asyncio.gather(
        reads.get("keystile:test:one"),
        reads.get("keystile:test:none", "keystile:test:one"),
        reads.get("keystile:test:list"),
    )
    assert list(answers) == [[b"1"], [None, b"1"], [None]]


async def test_what_is_asked_meanwhile_goes_with_the_next() -> None:
    """While one round trip is under way all others wait for one more, however many they are."""
    link = Link()
    reads = reads_of(link)
    first = await asked(reads, 1)
    await asyncio.sleep(0)
    others = await asked(reads, 50)
    link.may_answer.set()
    values = await asyncio.gather(*first, *others)
    assert len(link.commands) == 2
    assert values[1:] == [[f"a{number}".encode(), f"b{number}".encode()] for number in range(50)]


async def test_a_caller_who_leaves_takes_nobody_with_him() -> None:
    """The others of his round trip get their values."""
    link = Link()
    tasks = await asked(reads_of(link), 3)
    tasks[1].cancel()
    link.may_answer.set()
    assert await tasks[0] == [b"a0", b"b0"]
    assert await tasks[2] == [b"a2", b"b2"]


@pytest.mark.parametrize("fault", [CannotTellError("away"), RuntimeError("odd"), asyncio.CancelledError()])
async def test_nobody_waits_for_ever(fault: BaseException) -> None:
    """Whatever ends a round trip, all who wait for it are told, and the next callers are served."""
    link = Link()
    reads = reads_of(link)
    link.fault = fault
    tasks = await asked(reads, 3)
    link.may_answer.set()
    for task in tasks:
        with pytest.raises(CannotTellError):
            await task
    link.fault = None
    assert await reads.get("x") == [b"x"]


@pytest.mark.parametrize("answer", [7, [], [b"a"], [b"a", 1], [b"a", b"b", b"c"], b"ab"])
async def test_an_answer_of_another_shape_is_no_answer(answer: object) -> None:
    """Redis is not trusted to answer as Redis does: nobody hangs, and nobody gets a fault of ours."""

    class Odd:
        async def command(self, *_words: str) -> object:
            return answer

    with pytest.raises(CannotTellError):
        await reads_of(Odd()).get("a", "b")
