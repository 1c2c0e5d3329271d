"""Matching a presented older key by bcrypt alone: a background job per key, never more than half a core in all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from cachetools import TTLCache

from keystile.clients import client_of
from keystile.errors import CannotTellError, StillSearchingError

if TYPE_CHECKING:
    from keystile.authority.fallback import FallbackIndex
    from keystile.authority.proof import Prover
    from keystile.keys import ApiKey
    from keystile.ports import IndexEntry, Ticks

_log = structlog.get_logger(__name__)
MAX_JOBS = 100
ANSWER_TTL = 60.0  # as long as a negative entry may live


class BcryptMatches:
    """One job per distinct presented key, one at a time per client address; 503 until it ends."""

    def __init__(self, index: FallbackIndex, prover: Prover, *, ticks: Ticks, limit: int) -> None:
        self._index = index
        self._prover = prover
        self._ticks = ticks
        self._limit = limit
        self._jobs: dict[bytes, asyncio.Task[None]] = {}
        self._addresses: set[str] = set()
        self._one_core_half = asyncio.Lock()
        self._answers: TTLCache[bytes, tuple[IndexEntry | None]] = TTLCache(10_000, ANSWER_TTL, timer=ticks)

    async def match(self, key: ApiKey, address: str) -> IndexEntry | None:
        """Return the entry *key* was proved against, None if there is none. Raises `CannotTellError` meanwhile."""
        answer = self._answers.get(key.name)
        if answer is not None:
            return answer[0]
        entries = await self._index.unnamed(self._limit)
        if not entries:
            return None
        if key.name not in self._jobs:
            self._start(key, address, entries)
        raise StillSearchingError("the key is being matched against older records", retry_after=2)

    async def close(self) -> None:
        """End the jobs of this process."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    def _start(self, key: ApiKey, address: str, entries: tuple[IndexEntry, ...]) -> None:
        address = client_of(address)
        if address in self._addresses or len(self._jobs) >= MAX_JOBS:
            raise StillSearchingError("another key of this address is being matched", retry_after=5)
        self._addresses.add(address)
        self._jobs[key.name] = asyncio.create_task(self._run(key, address, entries))

    async def _run(self, key: ApiKey, address: str, entries: tuple[IndexEntry, ...]) -> None:
        try:
            self._answers[key.name] = (await self._first_match(key, entries),)
        except CannotTellError as error:
            _log.warning("an older key could not be matched", key=key.tag, why=str(error))
        finally:
            self._addresses.discard(address)
            del self._jobs[key.name]

    async def _first_match(self, key: ApiKey, entries: tuple[IndexEntry, ...]) -> IndexEntry | None:
        for entry in entries:
            async with self._one_core_half:
                started_at = self._ticks()
                if await self._prover.matches_bcrypt(key, entry.bcrypt):
                    return entry
                await asyncio.sleep(self._ticks() - started_at)
        return None
