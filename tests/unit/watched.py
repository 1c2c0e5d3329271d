"""Clocks that stand still, and ports that are watched, held or out of reach."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from keystile.errors import CannotTellError
from unit.builders import NOW

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from keystile.adapters.memory.cache import InProcessVerdictCache
    from keystile.changes import Floor
    from keystile.keys import ApiKey
    from keystile.limits import Bucket
    from keystile.ports import (
        Allowance,
        Allowances,
        AuditEvent,
        Cached,
        Directory,
        OwnerChange,
        RealmUser,
        UsageBatch,
        UsageStore,
    )
    from keystile.records import Owner
    from keystile.usage import DayCounts, LastUses
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

    async def owners(self, after: str = "", *, enabled: bool = True) -> tuple[tuple[Owner, ...], str]:
        """Pass it on."""
        return await self._reach().owners(after, enabled=enabled)

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


class WatchedUsageStore:
    """A `UsageStore` that keeps what it was told, and can be *down*, or *silent*: it keeps it and says it did not."""

    def __init__(self, inner: UsageStore) -> None:
        self._inner = inner
        self.batches: list[UsageBatch] = []
        self.down = False
        self.silent = False

    async def add(self, batch: UsageBatch) -> None:
        """Note the batch."""
        await self._reach().add(batch)
        self.batches.append(batch)
        if self.silent:
            raise CannotTellError("the store took too long")

    async def days(self, key_id: str, days: Sequence[date]) -> tuple[DayCounts, ...]:
        """Pass it on."""
        return await self._reach().days(key_id, days)

    async def last_uses(self, key_id: str) -> LastUses:
        """Pass it on."""
        return await self._reach().last_uses(key_id)

    def _reach(self) -> UsageStore:
        if self.down:
            raise CannotTellError("the store is down")
        return self._inner


class WatchedAllowances:
    """`Allowances` that count how often they are asked, and can be held or out of reach."""

    def __init__(self, inner: Allowances) -> None:
        self._inner = inner
        self.takes: list[tuple[str, int, int]] = []
        self.granted: list[int] = []
        self.down = False
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def take(self, bucket: Bucket, *, needed: int, ahead: int, at: float) -> Allowance:
        """Note what was asked and granted."""
        self.takes.append((bucket.name, needed, ahead))
        taken = await self._reach().take(bucket, needed=needed, ahead=ahead, at=at)
        self.granted.append(taken.granted)
        self.asked.set()
        await self.may_answer.wait()
        return taken

    async def charge(self, bucket: Bucket, *, cents: int, at: float) -> int:
        """Pass it on."""
        return await self._reach().charge(bucket, cents=cents, at=at)

    def _reach(self) -> Allowances:
        if self.down:
            raise CannotTellError("the allowances are out of reach")
        return self._inner


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
        self.clients: dict[str, str] = {}

    async def verify(self, token: str) -> RealmUser | None:
        """Look it up."""
        return self.users.get(token)

    async def client(self, token: str) -> str | None:
        """Look it up."""
        return self.clients.get(token)
