from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from keystile.authority import chores as module
from keystile.authority.chores import Chores
from keystile.errors import CannotTellError

if TYPE_CHECKING:
    import pytest


class Work:
    """Chores that are done when told to."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.running = 0
        self.most = 0
        self.may_end = asyncio.Event()

    async def do(self, name: str) -> None:
        """Do one chore."""
        self.running += 1
        self.most = max(self.most, self.running)
        await self.may_end.wait()
        self.running -= 1
        self.done.append(name)


async def until_running(work: Work, number: int) -> None:
    """Wait until so many chores have begun."""
    async with asyncio.timeout(30):
        while work.running < number:  # noqa: ASYNC110 - what begins them is what is tested
            await asyncio.sleep(0)


async def test_chores_are_done_two_at_a_time() -> None:
    """However many wait, two run."""
    chores, work = Chores(), Work()
    for name in "abcde":
        chores.add(name, lambda name=name: work.do(name))  # type: ignore[misc]
    await until_running(work, 2)
    work.may_end.set()
    await chores.finish()
    assert sorted(work.done) == list("abcde")
    assert work.most == 2


async def test_same_chore_is_not_queued_twice() -> None:
    """A key that is read a hundred times is mended once; done, it may come again."""
    chores, work = Chores(), Work()
    for _ in range(100):
        chores.add(("heal", "key"), lambda: work.do("heal"))
    work.may_end.set()
    await chores.finish()
    assert work.done == ["heal"]
    chores.add(("heal", "key"), lambda: work.do("again"))
    await chores.finish()
    assert work.done == ["heal", "again"]


async def test_full_queue_drops_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood cannot fill the memory with chores."""
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    chores, work = Chores(), Work()
    for name in "abcde":
        chores.add(name, lambda name=name: work.do(name))  # type: ignore[misc]
    work.may_end.set()
    await chores.finish()
    assert sorted(work.done) == list("abc")


async def test_chore_that_cannot_be_done_now_is_put_off() -> None:
    """A failure we know is logged, and stops neither the queue nor a later try."""
    chores, work = Chores(), Work()

    async def fail() -> None:
        raise CannotTellError("down")

    chores.add(("heal", "key"), fail)
    work.may_end.set()
    await chores.finish()
    chores.add(("heal", "key"), lambda: work.do("heal"))
    await chores.finish()
    assert work.done == ["heal"]


async def test_finishing_waits_no_longer_than_its_patience() -> None:
    """A process that ends does not hang on a chore that does not."""
    chores, work = Chores(), Work()
    chores.add("a", lambda: work.do("a"))
    await until_running(work, 1)
    await chores.finish(patience=0)
    assert work.done == []
    work.may_end.set()
    await chores.finish()
