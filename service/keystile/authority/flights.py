"""Single flight: callers who need the same answer at the same time wait for one look-up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from keystile.errors import CannotTellError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

Answer = TypeVar("Answer")

MAX_FLIGHTS = 2_000


class Flights(Generic[Answer]):
    """One running look-up per name; its callers may leave without ending it for the others."""

    def __init__(self, limit: int = MAX_FLIGHTS) -> None:
        self._limit = limit
        self._running: dict[Hashable, asyncio.Task[Answer]] = {}

    async def once(self, name: Hashable, look_up: Callable[[], Coroutine[None, None, Answer]]) -> Answer:
        """Return what the running look-up of that name returns or raises, starting it if there is none."""
        task = self._running.get(name)
        if task is None or task.done():  # a done one is still there until its callbacks have run
            if len(self._running) >= self._limit:
                raise CannotTellError("too many look-ups are under way")
            task = asyncio.create_task(look_up())
            self._running[name] = task
            task.add_done_callback(lambda done: self._landed(name, done))
        return await asyncio.shield(task)

    def _landed(self, name: Hashable, task: asyncio.Task[Answer]) -> None:
        if self._running.get(name) is task:
            del self._running[name]
        if not task.cancelled():
            task.exception()  # whoever still waits gets it; nobody waiting is not a fault
