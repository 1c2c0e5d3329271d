"""Clocks that stand still, and ports that are watched, held or out of reach."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from keystile.errors import CannotTellError
from unit.builders import NOW

if TYPE_CHECKING:
    from keystile.adapters.memory.cache import InProcessVerdictCache
    from keystile.changes import Floor
    from keystile.keys import ApiKey
    from keystile.ports import AuditEvent, Cached, Directory, OwnerChange, RealmUser
    from keystile.records import Owner
    from keystile.verdicts import Verdict

TTL = timedelta(minutes=15)


class Time:
    """A clock and ticks that move only when told to."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        """Return the wall clock's moment."""
        return NOW + timedelta(seconds=self.passed)

    def ticks(self) -> float:
        """Return the monotonic clock's seconds."""
        return 1_000.0 + self.passed


class WatchedDirectory:
    """A `Directory` that counts its reads, can be held or out of reach, and finds what is *planted* first."""

    def __init__(self, inner: Directory) -> None:
        self._inner = inner
        self.finds: list[str] = []
        self.reads: list[str] = []
        self.writes: list[str] = []
        self.role_reads: list[str] = []
        self.planted_owners: dict[str, Owner] = {}
        self.administrators: set[str] = set()
        self.held: dict[str, frozenset[str]] = {}
        self.planted: dict[str, tuple[Owner, ...]] = {}
        self.down = False
        self.read_done = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.may_write = asyncio.Event()
        self.may_write.set()

    async def find(self, lookup: str) -> tuple[Owner, ...]:
        """Count the look-up."""
        self.finds.append(lookup)
        found = self.planted.get(lookup) or await self._reach().find(lookup)
        await self._answer()
        return found

    async def owner(self, owner_id: str) -> Owner | None:
        """Count the read."""
        self.reads.append(owner_id)
        found = self.planted_owners.get(owner_id) or await self._reach().owner(owner_id)
        await self._answer()
        return found

    async def owner_named(self, username: str) -> Owner | None:
        """Pass it on."""
        return await self._reach().owner_named(username)

    async def adopt(self, username: str) -> Owner:
        """Pass it on."""
        return await self._reach().adopt(username)

    async def update(self, owner_id: str, change: OwnerChange, *, urgent: bool = False) -> Owner:
        """Count the write."""
        self.writes.append(owner_id)
        await self.may_write.wait()
        return await self._reach().update(owner_id, change, urgent=urgent)

    async def roles(self, owner_id: str) -> frozenset[str] | None:
        """Return what the test says is held, else what the store says; count the read."""
        self.role_reads.append(owner_id)
        inner = self._reach()
        return self.held[owner_id] if owner_id in self.held else await inner.roles(owner_id)

    async def administers(self, owner_id: str) -> bool:
        """Tell whether the test says so; count the read."""
        self.role_reads.append(owner_id)
        self._reach()
        return owner_id in self.administrators

    async def owners(self, after: str = "") -> tuple[tuple[Owner, ...], str]:
        """Pass it on."""
        return await self._reach().owners(after)

    def hold(self) -> None:
        """Let reads end in the store, but not be answered, until `may_answer` is set."""
        self.may_answer.clear()
        self.read_done.clear()

    def _reach(self) -> Directory:
        if self.down:
            raise CannotTellError("the directory is down")
        return self._inner

    async def _answer(self) -> None:
        self.read_done.set()
        await self.may_answer.wait()


class WatchedCache:
    """A far `VerdictCache` that counts its reads and can be out of reach."""

    def __init__(self, inner: InProcessVerdictCache) -> None:
        self.inner = inner
        self.gets = 0
        self.down = False

    async def get(self, key: ApiKey) -> Cached:
        """Count the round trip."""
        self.gets += 1
        return await self._reach().get(key)

    async def put(self, key: ApiKey, verdict: Verdict) -> None:
        """Pass it on."""
        await self._reach().put(key, verdict)

    async def floor(self, key_id: str) -> Floor | None:
        """Pass it on."""
        return await self._reach().floor(key_id)

    def _reach(self) -> InProcessVerdictCache:
        if self.down:
            raise CannotTellError("the cache is down")
        return self.inner


class KeptAudit:
    """An `AuditLog` in a list."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def record(self, event: AuditEvent) -> None:
        """Keep it."""
        self.events.append(event)


class ToldRealm:
    """A `RealmTokens` that takes the tokens it was told of."""

    def __init__(self) -> None:
        self.users: dict[str, RealmUser] = {}

    async def verify(self, token: str) -> RealmUser | None:
        """Look it up."""
        return self.users.get(token)
