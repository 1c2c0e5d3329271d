"""A fallback index over a few owners, crawled when a test says so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from keystile.adapters.memory.index import InProcessIndexStore
from keystile.adapters.memory.leases import InProcessLeases
from keystile.authority.fallback import FallbackIndex
from keystile.authority.lookup import Found, Lookup
from keystile.authority.matching import BcryptMatches
from keystile.authority.memory import ChangeMemory
from keystile.authority.proof import BcryptWorkers, Prover
from keystile.changes import PollMark
from keystile.digests import bcrypt_hash, older_hash_of
from keystile.errors import CannotTellError
from keystile.keys import ApiKey, KeyFormat
from unit.builders import PEPPERS, a_record, an_owner
from unit.watched import Time

if TYPE_CHECKING:
    from keystile.ports import OwnerChange
    from keystile.records import Owner

FORMAT = KeyFormat(PEPPERS, older=True)
SECRET = b"older secret"
KEY = FORMAT.generate("live")
BY_HASH = FORMAT.parse("mcpkey_live_" + "h" * 43)
BY_BCRYPT = FORMAT.parse("mcpkey_live_" + "b" * 43)
STRANGER = FORMAT.parse("mcpkey_live_" + "s" * 43)


class PagedDirectory:
    """A `Directory` of a few owners, two a page, none of which has a look-up value."""

    def __init__(self, *owners: Owner) -> None:
        self.all = list(owners)
        self.pages = 0
        self.down_at = -1
        self.may_page = asyncio.Event()
        self.may_page.set()

    async def find(self, lookup: str) -> tuple[Owner, ...]:
        """Return the owners with that look-up value."""
        return tuple(owner for owner in self.all if lookup in owner.lookups)[:2]

    async def owner(self, owner_id: str) -> Owner | None:
        """Return that owner."""
        return next((owner for owner in self.all if owner.id == owner_id), None)

    async def owner_named(self, username: str) -> Owner | None:
        """Return that owner."""
        return next((owner for owner in self.all if owner.username == username), None)

    async def adopt(self, username: str) -> Owner:
        """Refuse: nobody is adopted here."""
        raise NotImplementedError(username)

    async def update(self, owner_id: str, change: OwnerChange, *, urgent: bool = False) -> Owner:
        """Refuse: nothing is written here."""
        raise NotImplementedError(owner_id, change, urgent)

    async def roles(self, owner_id: str) -> frozenset[str] | None:  # noqa: ARG002 - the port's
        """Know nothing of roles."""
        return None

    async def administers(self, owner_id: str) -> bool:  # noqa: ARG002 - the port's
        """Know of no administrator."""
        return False

    async def owners(self, after: str = "", *, enabled: bool = True) -> tuple[tuple[Owner, ...], str]:
        """Return a page."""
        assert enabled
        await self.may_page.wait()
        if self.pages == self.down_at:
            raise CannotTellError("the directory is down")
        self.pages += 1
        start = int(after or 0)
        page = tuple(self.all[start : start + 2])
        return page, str(start + 2) if start + 2 < len(self.all) else ""


class Crawled:
    """A fallback index and what stands around it."""

    def __init__(self, directory: PagedDirectory, workers: BcryptWorkers) -> None:
        self.time, self.directory = Time(), directory
        self.store, self.leases = InProcessIndexStore(), InProcessLeases(ticks=self.time.ticks)
        self.memory = ChangeMemory(self.time.ticks)
        self.prover = Prover(PEPPERS, workers, older_secret=SECRET, cost=4)
        self.index = self.another()
        self.matches = BcryptMatches(self.index, self.prover, ticks=self.time.ticks, limit=500)
        self.lookup = Lookup(directory, self.prover, PEPPERS, self.index, self.matches)
        self.poll()

    def another(self) -> FallbackIndex:
        """Return the index as another process of the deployment has it."""
        return FallbackIndex(
            self.directory,
            self.store,
            self.leases,
            self.memory,
            self.prover,
            PEPPERS,
            next_poll=self.next_poll,
            clock=self.time.now,
            ticks=self.time.ticks,
            older_keys=True,
        )

    async def next_poll(self) -> None:
        """Have the next poll come at once."""
        if self.memory.polled is not None:
            self.poll(self.memory.polled.followed_since)

    def poll(self, followed_since: float = 0.0) -> None:
        """Say that events were followed until now."""
        self.memory.polled = PollMark(polled_at=self.time.now().timestamp(), followed_since=followed_since)
        self.memory.watched(self.time.ticks())

    async def crawl(self) -> None:
        """Let a crawl run to its end."""
        await self.index.prepare()
        if self.index._crawling is not None:  # noqa: SLF001 - the one task to wait for
            await self.index._crawling  # noqa: SLF001


def owners() -> list[Owner]:
    """Return five owners: one with a current record, two with older ones, two with nothing to find."""
    by_hash = a_record(key_id="by-hash", gen=0, older_hash=older_hash_of(BY_HASH, SECRET))
    by_bcrypt = a_record(key_id="by-bcrypt", gen=0, older_hash="", bcrypt=bcrypt_hash(BY_BCRYPT, 4))
    found = an_owner(a_record(key_id="found"), id="o4", lookups=frozenset({"found"}))
    current = a_record(key_id=KEY.tag, bcrypt=bcrypt_hash(KEY, 4))
    return [
        an_owner(id="o0"),
        an_owner(by_hash, id="o1"),
        an_owner(by_bcrypt, id="o2"),
        an_owner(current, id="o3"),
        found,
    ]


async def find(crawled: Crawled, key: ApiKey) -> Found:
    return await crawled.lookup.find(key) or await crawled.lookup.find_unnamed(key, "192.0.2.1")


async def holder(crawled: Crawled, key: ApiKey) -> str:
    return (await find(crawled, key)).owner.id
