"""The paginated search: an index of the records that no look-up value names, filled by one crawl for everybody."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import structlog

from keystile.errors import CannotTellError, StillSearchingError
from keystile.ports import IndexEntry, IndexState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from keystile.authority.memory import ChangeMemory
    from keystile.authority.proof import Prover
    from keystile.keys import ApiKey
    from keystile.peppers import Peppers
    from keystile.ports import Clock, Directory, IndexStore, Leases, Ticks
    from keystile.records import KeyRecord, Owner

_log = structlog.get_logger(__name__)
EVENTS_FOLLOWED_FOR = 60.0  # seconds a complete poll vouches for the index
CRAWL_PAUSE = 600.0  # seconds between the end of a crawl and the next
LEASE_TTL = 30.0
WANTED_REST = 1.0  # pause after each page, in page times: half of the time belongs to everybody else
IDLE_REST = 4.0  # the same while nobody waits for the crawl
_LEASE = "crawl"


class FallbackIndex:
    """Finds who may hold a key that no look-up value names.

    Never trusted: whoever it names is read again and proved. Forged keys never come this far. *crawled*: how many
    owners the crawls of this process have read.
    """

    def __init__(
        self,
        directory: Directory,
        store: IndexStore,
        leases: Leases,
        memory: ChangeMemory,
        prover: Prover,
        peppers: Peppers,
        *,
        next_poll: Callable[[], Awaitable[None]],
        clock: Clock,
        ticks: Ticks,
        older_keys: bool,
    ) -> None:
        self._directory = directory
        self._store = store
        self._leases = leases
        self._memory = memory
        self._prover = prover
        self._peppers = peppers
        self._next_poll = next_poll
        self._clock = clock
        self._ticks = ticks
        self._older_keys = older_keys
        self._crawling: asyncio.Task[None] | None = None
        self._wanted = False
        self._last: IndexState | None = None
        self.is_crawling = False
        self.crawled = 0

    @property
    def is_complete(self) -> bool | None:
        """Tell whether a finished crawl vouches for empty answers; None if this process never had to know."""
        if self._last is None:
            return None if self._crawling is None else False
        return self._is_followed(self._last)

    async def named(self, key: ApiKey) -> tuple[IndexEntry, ...]:
        """Return the records whose key id or `cacheHash` is that of *key*.

        Nobody is called unknown for a record that was changed since the last poll: an empty answer waits for the
        next one. Raises `CannotTellError` without a finished crawl.
        """
        entries = await self._named(key)
        if not entries:
            await self._next_poll()
            entries = await self._named(key)
        return entries

    async def _named(self, key: ApiKey) -> tuple[IndexEntry, ...]:
        state = await self.finished()
        text = key.key_id or self._prover.presented_older_name(key)
        if text is None:
            return ()
        names = [pepper.index.digest(text.encode()) for pepper in self._peppers.accepted]
        return await self._store.named(state.generation, names)

    async def unnamed(self, limit: int) -> tuple[IndexEntry, ...]:
        """Return up to *limit* older records that only bcrypt can recognise."""
        state = await self.finished()
        return await self._store.unnamed(state.generation, limit)

    async def follow(self, owner: Owner) -> list[str]:
        """Bring the index up to date with *owner*, just read; return the ids of its records that only it can find.

        Raises `CannotTellError`.
        """
        state = await self._store.state()
        entries = self._entries(owner)
        if state is not None and entries:
            await self._store.add(state.generation, entries)
        return [entry.key_id for entry in entries]

    async def finished(self) -> IndexState:
        """Return the crawl that can vouch for an empty answer, or start one and raise `CannotTellError`."""
        state = self._last = await self._store.state()
        if state is not None and self._is_followed(state):
            return state
        self._wanted = True
        self._start_crawl(state)
        raise StillSearchingError("the fallback index is not complete yet", retry_after=2)

    async def prepare(self) -> bool:
        """Start the crawl before anybody needs it; return whether one is finished. Raises `CannotTellError`."""
        state = self._last = await self._store.state()
        if state is not None and self._is_followed(state):
            return True
        self._start_crawl(state)
        return False

    def _start_crawl(self, last: IndexState | None) -> None:
        """Start a crawl unless one runs, or one ended lately."""
        if self._crawling is not None and not self._crawling.done():
            return
        if last is not None and self._clock().timestamp() - last.finished_at < CRAWL_PAUSE and self._polls():
            return
        if self._polls():  # a crawl that nobody keeps current could vouch for nothing
            self._crawling = asyncio.create_task(self._crawl())

    async def close(self) -> None:
        """End a crawl of this process."""
        if self._crawling is not None:
            self._crawling.cancel()
            await asyncio.gather(self._crawling, return_exceptions=True)

    def _polls(self) -> bool:
        return self._memory.followed_within(EVENTS_FOLLOWED_FOR)

    def _is_followed(self, state: IndexState) -> bool:
        polled = self._memory.polled
        return polled is not None and self._polls() and state.started_at >= polled.followed_since

    async def _crawl(self) -> None:
        try:
            token = await self._leases.take(_LEASE, LEASE_TTL)
            if token is None:
                return  # another process crawls
            try:
                self.is_crawling = True
                await self._crawl_pages(token)
            finally:
                self.is_crawling = False
                await self._leases.release(_LEASE, token)
        except CannotTellError as error:
            _log.warning("the crawl was cut short", why=str(error))

    async def _crawl_pages(self, token: str) -> None:
        generation = secrets.token_hex(8)
        polled = self._memory.polled
        started_at = polled.polled_at if polled else 0.0  # by the clock that events are followed by
        after, pages = "", 0
        while True:
            asked_at = self._ticks()
            owners, after = await self._directory.owners(after)
            entries = [entry for owner in owners for entry in self._entries(owner)]
            if entries:
                await self._store.add(generation, entries)
            pages += 1
            self.crawled += len(owners)
            if not after:
                break
            if not await self._leases.renew(_LEASE, token, LEASE_TTL):
                raise CannotTellError("the crawl lost its lease")
            await asyncio.sleep((self._ticks() - asked_at) * (WANTED_REST if self._wanted else IDLE_REST))
        finished_at = self._clock().timestamp()
        state = IndexState(generation=generation, started_at=started_at, finished_at=finished_at)
        await self._store.finish(state)
        self._last = state
        _log.info("the fallback index is complete", pages=pages)

    def _entries(self, owner: Owner) -> list[IndexEntry]:
        return [self._entry(owner, record) for record in owner.records if not self._is_found(owner, record)]

    def _is_found(self, owner: Owner, record: KeyRecord) -> bool:
        if record.is_older:  # it has a look-up value once verified, but which one only its key can say
            return not self._older_keys
        return record.key_id in owner.lookups

    def _entry(self, owner: Owner, record: KeyRecord) -> IndexEntry:
        name = self._prover.older_name(record) if record.is_older else record.key_id
        if name is None:
            return IndexEntry(owner.id, record.key_id, bcrypt=record.bcrypt)
        return IndexEntry(owner.id, record.key_id, self._peppers.current.index.digest(name.encode()))
