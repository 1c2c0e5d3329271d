"""Chores: small writes nobody waits for (filling a cache, mending a record), bounded and never lost in silence."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from keystile.errors import KeystileError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

_log = structlog.get_logger(__name__)
MAX_WAITING = 1_000
_LATER = 0.005  # seconds: whoever is being answered goes first


class Chores:
    """Runs chores two at a time; the same chore is not queued twice; a full queue drops the newest."""

    def __init__(self, *, at_once: int = 2) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}

    def add(self, name: Hashable, chore: Callable[[], Coroutine[None, None, object]]) -> None:
        """Run *chore* soon, unless one of that name waits already."""
        if name in self._tasks:
            return
        if len(self._tasks) >= MAX_WAITING:
            _log.warning("too many chores: one is not done", chore=_kind(name))
            return
        self._tasks[name] = asyncio.create_task(self._run(name, chore))

    async def finish(self, patience: float = 5.0) -> None:
        """Wait for what is queued, at most *patience* seconds, and give up the rest."""
        tasks = list(self._tasks.values())
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=patience)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _run(self, name: Hashable, chore: Callable[[], Coroutine[None, None, object]]) -> None:
        try:
            await asyncio.sleep(_LATER)
            async with self._places:
                await chore()
        except KeystileError as error:  # it will be asked for again by the next look-up that needs it
            _log.info("chore put off", chore=_kind(name), why=str(error))
        finally:
            del self._tasks[name]


def _kind(name: Hashable) -> str:
    return str(name[0]) if isinstance(name, tuple) else str(name)
