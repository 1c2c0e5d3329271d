"""What all workers of one server counted: each tells its numbers once a second, and before any scrape it answers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import structlog

from keystile.http.metrics.readings import Reading, together

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from keystile.adapters.worker_files import WorkerFiles

_log = structlog.get_logger(__name__)
PAUSE = 1.0  # seconds
SILENT = 5.0  # seconds after which a worker is taken to have ended: what it counted counts on, what was so does not
_NOT_OURS = (ValueError, TypeError, KeyError)


class Workers:
    """One worker's view of all. *read* returns its own numbers.

    Counters never go back, whichever worker is asked: each tells what it is about to show before it shows it.
    """

    def __init__(self, read: Callable[[], Reading], files: WorkerFiles) -> None:
        self._read = read
        self._files = files
        self._turn = asyncio.Lock()
        self._before: Reading | None = None  # what those counted who had our place before us
        self._failing = False

    async def all(self) -> Reading:
        """Return the numbers of all workers; of this one alone while the disk fails."""
        mine = await self.tell()
        try:
            texts = await asyncio.to_thread(self._files.others)
        except OSError as error:
            self._failed(error)
            texts = []
        told = [reading for text in texts if (reading := _parse(text)) is not None]
        fresh = [reading if abs(mine.at - reading.at) < SILENT else reading.lasting() for reading in told]
        return together([mine, *fresh])

    async def tell(self) -> Reading:
        """Tell the others our own numbers, and return them."""
        async with self._turn:  # an older reading must not be written over a newer one
            try:
                if self._before is None:
                    text = await asyncio.to_thread(self._files.take)
                    self._before = (_parse(text) or Reading(0.0)).lasting()
                mine = together([self._before, self._read()])
                await asyncio.to_thread(self._files.write, mine.to_text())
            except OSError as error:
                self._failed(error)
                return together([self._before or Reading(0.0), self._read()])
            self._failing = False
            return mine

    async def run(self, ended: asyncio.Event) -> None:
        """Tell once a second until *ended*."""
        while not ended.is_set():
            await self.tell()
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE):
                    await ended.wait()

    async def close(self) -> None:
        """Tell a last time, and leave our place to another."""
        await self.tell()
        self._files.close()

    def _failed(self, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            _log.warning("workers cannot tell each other their numbers: metrics are of one worker", why=str(error))


@asynccontextmanager
async def open_workers(read: Callable[[], Reading], files: WorkerFiles) -> AsyncIterator[Workers]:
    """Tell our numbers while the block runs."""
    workers = Workers(read, files)
    await workers.tell()
    ended = asyncio.Event()
    telling = asyncio.create_task(workers.run(ended))
    try:
        yield workers
    finally:
        ended.set()  # not cancelled: a write that has begun would go on beside the last one
        await asyncio.gather(telling, return_exceptions=True)
        await workers.close()


def _parse(text: str) -> Reading | None:
    try:
        return Reading.from_text(text) if text else None
    except _NOT_OURS as error:
        _log.warning("a worker's numbers cannot be read", why=type(error).__name__)
        return None
