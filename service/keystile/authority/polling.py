"""Polling for changes made elsewhere: one elected process reads them and says them in the change log."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from keystile.authority.reconciling import is_undone, is_unsaid
from keystile.changes import EVERY_OWNER, EVERY_ROLE, Change, PollMark
from keystile.errors import CannotTellError, EventsLostError, KeystileError

if TYPE_CHECKING:
    from keystile.authority.fallback import FallbackIndex
    from keystile.authority.follower import Follower
    from keystile.authority.memory import ChangeMemory
    from keystile.authority.mending import Mender
    from keystile.authority.stops import Stops
    from keystile.ports import Clock, Directory, Leases, OwnerEvents, VerdictCache
    from keystile.records import Owner

_log = structlog.get_logger(__name__)
PAUSE = 1.0  # seconds between polls: the bound for changes made in Keycloak is 5 s
LEASE_TTL = 2.0  # seconds: who ends without a word is followed by another soon enough for the bound
MAX_GAP = 3600.0  # seconds of events that a poll may still catch up on; Keycloak keeps them for days
SET_BACK = 5.0  # seconds: a mark this far ahead was made by a clock that was put right since
_AT_ONCE = 8  # owners read at the same time
_LEASE = "poller"


class Poller:
    """Follows owner events while it holds the lease.

    A console page saved after a revoke brings an old record back; so each owner a foreign event names is read
    again, and what lies below its floor is put right.
    """

    def __init__(
        self,
        events: OwnerEvents,
        leases: Leases,
        follower: Follower,
        memory: ChangeMemory,
        directory: Directory,
        cache: VerdictCache,
        index: FallbackIndex,
        mender: Mender,
        stops: Stops,
        *,
        clock: Clock,
    ) -> None:
        self._events = events
        self._leases = leases
        self._follower = follower
        self._memory = memory
        self._directory = directory
        self._cache = cache
        self._index = index
        self._mender = mender
        self._stops = stops
        self._written: set[tuple[str, float]] = set()
        self._clock = clock
        self._token: str | None = None
        self._index_ready = False
        self._missed = False

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            try:
                if await self._elected():
                    await self.poll()
            except CannotTellError as error:
                _log.warning("events cannot be followed", why=str(error))
            await asyncio.sleep(PAUSE)

    async def close(self) -> None:
        """Give the lease to somebody else."""
        if self._token is not None:
            await self._leases.release(_LEASE, self._token)

    async def poll(self) -> None:
        """Read one complete poll and say what it told. Raises `CannotTellError`."""
        mark = self._memory.polled
        if mark is not None and self._clock().timestamp() - mark.polled_at > MAX_GAP:
            mark = None
        try:
            page = await self._events.poll(mark.polled_at if mark else None)
        except EventsLostError:
            self._missed = True  # what happened meanwhile will never be told: older verdicts do not count after it
            raise
        gap = mark is None or self._missed or mark.polled_at > page.polled_at + SET_BACK
        since = page.polled_at if mark is None or gap else mark.followed_since
        if gap:
            await self._follower.announce(Change(owner_id=EVERY_OWNER, at=self._clock().timestamp()))
        named = sorted(page.owner_ids | page.own_ids)
        for owner_id in [*named, *([EVERY_ROLE] if page.realm_wide else [])]:
            await self._follower.announce(Change(owner_id=owner_id, at=self._clock().timestamp()))
        places = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(self._review(owner_id, places) for owner_id in named))
        await self._follower.mark_polled(PollMark(polled_at=page.polled_at, followed_since=since))
        self._missed = False
        await self._stops.write_pending(self._memory, self._written)
        self._index_ready = self._index_ready or await self._index.prepare()

    async def _elected(self) -> bool:
        if self._token is not None and await self._leases.renew(_LEASE, self._token, LEASE_TTL):
            return True
        self._token = await self._leases.take(_LEASE, LEASE_TTL)
        return self._token is not None

    async def _review(self, owner_id: str, places: asyncio.Semaphore) -> None:
        """Compare an owner's records with their floors: what either has missed is said or written."""
        async with places:
            try:
                owner = await self._directory.owner(owner_id)
                if owner is not None:
                    await self._review_records(owner)
            except CannotTellError:
                raise  # the poll is not complete: all of it is told again
            except (KeystileError, ValueError, TypeError, KeyError):  # one odd user must not stop the following
                _log.exception("a changed owner could not be read", owner_id=owner_id)

    async def _review_records(self, owner: Owner) -> None:
        for record in owner.records:
            floor = await self._cache.floor(record.key_id)
            if is_unsaid(record, floor):
                await self._stops.affirm(owner, record)  # it was revoked while the log was away
            elif floor is not None and is_undone(record, floor):
                self._mender.reassert(floor, owner)
        for key_id in await self._index.follow(owner):
            # Only now can these be found: whoever was called unknown a moment ago must be asked for again.
            await self._follower.announce(Change(key_id=key_id, owner_id=owner.id, at=self._clock().timestamp()))
