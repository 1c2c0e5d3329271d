"""Verification of API keys: from a presented key to a verdict, by the nearest source that still counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from keystile.authority.auditing import AUDITED_EVERY
from keystile.authority.counts import Source
from keystile.authority.reconciling import is_unsaid
from keystile.errors import (
    CannotTellError,
    KeyRefusedError,
    LimitReachedError,
    Reason,
    StillSearchingError,
    TooManyFailuresError,
)
from keystile.keys import MAX_KEY_BYTES
from keystile.policy import decide, decide_asked, lacks_facts
from keystile.ports import Cached
from keystile.verdicts import Verdict

if TYPE_CHECKING:
    from keystile.authority.auditing import Auditor
    from keystile.authority.chores import Chores
    from keystile.authority.flights import Flights
    from keystile.authority.freshness import Freshness
    from keystile.authority.idle import IdleExpiry
    from keystile.authority.lanes import Lane
    from keystile.authority.lookup import Lookup
    from keystile.authority.memory import ChangeMemory
    from keystile.authority.mending import Mender
    from keystile.authority.metering import Metering
    from keystile.authority.negatives import Negatives
    from keystile.authority.usage import UsageRecorder
    from keystile.changes import Floor
    from keystile.client_ids import ClientId
    from keystile.keys import ApiKey, KeyFormat
    from keystile.policy import RequestContext
    from keystile.ports import Clock, FailureLimiter, NearVerdictCache, Ticks, VerdictCache
    from keystile.records import KeyRecord, Owner
    from keystile.verdicts import Known, ReusableJwt

_COSTLY = frozenset({Reason.UNKNOWN, Reason.WRONG_SECRET, Reason.SECRET_ENDED})
STALE_STANDS = 1.0  # seconds between two attempts to read a known key anew while the directory is away
_RACES = 10  # look-ups in a row that may each lose to a change before we give up: one event may be told three times


@dataclass(frozen=True, kw_only=True)
class Verifier:
    """Verifies presented keys; every door asks it, and `decide` alone has the last word."""

    format: KeyFormat
    near: NearVerdictCache
    far: VerdictCache
    lookup: Lookup
    memory: ChangeMemory
    freshness: Freshness
    negatives: Negatives
    limiter: FailureLimiter
    metering: Metering
    lane: Lane
    slow_lane: Lane
    unstamped_lane: Lane
    mender: Mender
    chores: Chores
    auditor: Auditor
    usage: UsageRecorder
    idle: IdleExpiry
    clock: Clock
    ticks: Ticks
    flights: Flights[Verdict]

    async def verify(self, presented: str, context: RequestContext, key: ApiKey | None = None) -> Verdict:
        """Return the verdict on the *presented* key, or raise a `KeyRefusedError`. *key*: what it was read as already.

        The secret is proved before anything else about the record is looked at, and the request is counted last: one
        that is refused spends nothing. Raises `CannotTellError` where nobody can say, `TooManyFailuresError` where the
        address has spent its failures, and `LimitReachedError` where the key has spent a limit.
        """
        name = self.name(presented) if key is None else key.name
        known = self.standing(name)
        try:
            if known is not None and not known.meters:  # nothing to wait for, and nothing to count
                self._check_asked(known.verdict, context)
                self.auditor.stood()
                known.used(context.path)
                return known.verdict
            verdict = await self._judged(name, known, presented, context, key)
            if await self.count(verdict, context):
                known = self.standing(name)
                verdict = await self._judged(name, known, presented, context, key)  # that took a while
        except KeyRefusedError as refusal:
            self.auditor.refused(refusal, context)
            self.usage.refused(refusal)
            raise
        except (CannotTellError, TooManyFailuresError) as error:
            self.auditor.unanswered(error, context)
            raise
        if known is None:
            self._let_stand(name, verdict, context)
        else:
            self.auditor.accepted_again()
            known.used(context.path)
        return verdict

    async def named(self, client: ClientId, context: RequestContext) -> Verdict:
        """Return the verdict on the public-key credential of that id; raises as `verify` does.

        Nothing is proved, judged, counted or audited yet.
        """
        return self._kept(client.name) or await self._prove(client, context)

    async def count(self, verdict: Verdict, context: RequestContext) -> bool:
        """Count an allowed request against the limits of its key; this is the one place that does, but for leases.

        Returns whether that took a while, so that what was judged before has to be judged again. Raises a
        `LimitReachedError`, audited.
        """
        if not context.is_counted:
            return False
        try:
            return await self.metering.count(verdict.record, verdict.owner)
        except LimitReachedError as refusal:
            self.auditor.limited(refusal, context)
            self.usage.limited(verdict.record.key_id)
            raise

    def standing(self, name: bytes | None) -> Known | None:
        """Return the verdict of that cache name if it was judged and audited a moment ago, and that still stands.

        What can end it is compared here each time: silence of the log, anything it said since, and the clock. What
        depends on the request is for the caller: see `decide_asked`.
        """
        known = self.known(name)
        if known is None or known.version != self.memory.version:
            return None
        now = self.ticks()
        return known if now < known.stands_until and now < self.memory.vouches_until else None

    def _let_stand(self, name: bytes | None, verdict: Verdict, context: RequestContext) -> None:
        """Audit that *verdict*, just judged, allows the key, and remember it until something could make that untrue."""
        known = self.known(name)
        if known is None or known.verdict is not verdict:
            self.auditor.accepted(verdict, context)  # none is kept, or a newer one by now
            self.usage.accepted(verdict, context)
            return
        now = self.ticks()
        if now < known.audited_until:
            self.auditor.accepted_again()
        else:
            known.audited_until = now + AUDITED_EVERY
            self.auditor.accepted_anew(verdict, context)
        fresh = self.freshness.remaining(verdict)
        if fresh <= 0 and self.freshness.counts_stale(verdict):
            fresh = STALE_STANDS  # the directory was just asked in vain
        seconds = min(
            known.audited_until - now,
            fresh,
            verdict.seconds_to_expiry(self.clock()),
            self.memory.seconds_to_kill(verdict.record.key_id, verdict.record.gen, self.clock().timestamp()),
        )
        known.meters = self.metering.meters_of(verdict.record, verdict.owner)
        known.version, known.stands_until = self.memory.version, now + seconds
        self.usage.accepted(verdict, context, known)

    async def look(self, presented: str, context: RequestContext) -> Verdict:
        """Return the same verdict as `verify`, or raise the same errors; nothing is counted or audited here."""
        name = self.name(presented)
        return await self._judged(name, self.standing(name), presented, context)

    def judge(self, verdict: Verdict, context: RequestContext) -> None:
        """Raise a `KeyRefusedError` unless the key may be used for this request, now."""
        reason = decide(verdict.record, verdict.owner, context, self.clock(), verdict.idles_at)
        if reason is not None:
            raise KeyRefusedError(reason, key_id=verdict.record.key_id, owner=verdict.owner.username)

    def known(self, name: bytes | None) -> Known | None:
        """Return what this process keeps under that cache name, whether or not it still counts."""
        return None if name is None else self.near.known(name)

    def share_jwt(self, presented: str, verdict: Verdict, jwt: ReusableJwt) -> None:
        """Keep with *verdict*, for other processes, a JWT that was made from it."""
        if self.far is not self.near:
            key, with_jwt = self.format.parse(presented), replace(verdict, jwt=jwt)
            self.chores.add(("jwt", key.name), lambda: self.far.put(key, with_jwt))

    def check_floor(self, owner: Owner, record: KeyRecord, floor: Floor | None, stored_gen: int) -> None:
        """Refuse a record below its floor, and see to it that what was undone is written again.

        Somebody saved a page of Keycloak's console that was loaded before the key was changed. *stored_gen* is the
        record's own generation; an earlier secret sees a lower one.
        """
        if record.revoked_at is not None:
            if is_unsaid(record, floor) and not self.memory.is_dead(record.key_id):
                self.mender.affirm(owner, record)  # it was revoked while the log was away: it must hear of it
            return
        if floor is not None and (stored_gen < floor.gen or floor.dead):
            self.mender.reassert(floor, owner)
            reason = Reason.REVOKED if floor.dead else Reason.CHANGE_UNDONE
            raise KeyRefusedError(reason, key_id=record.key_id, owner=owner.username)
        now = self.clock().timestamp()
        if self.memory.is_killed(record.key_id, record.gen, now):
            ended = not self.memory.is_killed(record.key_id, stored_gen, now)
            reason = Reason.SECRET_ENDED if ended else Reason.REVOKED
            raise KeyRefusedError(reason, key_id=record.key_id, owner=owner.username)

    def read_at(self, source: Source) -> None:
        """Count where a verdict was read."""
        self.auditor.counts.reads[source] += 1

    def name(self, presented: str) -> bytes | None:
        """Return the cache name of what could be a key, None for what cannot be one."""
        return self.format.name(presented.encode()) if len(presented) <= MAX_KEY_BYTES and presented.isascii() else None

    async def _judged(
        self,
        name: bytes | None,
        known: Known | None,
        presented: str,
        context: RequestContext,
        key: ApiKey | None = None,
    ) -> Verdict:
        """Return the verdict on a key that may be used for this request, now. *known*: what stands under its name."""
        if known is not None:
            self._check_asked(known.verdict, context)
            self.read_at(Source.PROCESS)
            return known.verdict
        verdict = self._kept(name)
        if verdict is None:
            verdict = await self._prove(key or self.format.parse(presented, name), context)  # no I/O for a forged one
        self.judge(verdict, context)
        return verdict

    def _check_asked(self, verdict: Verdict, context: RequestContext) -> None:
        reason = decide_asked(verdict.record, verdict.owner, context)
        if reason is not None:
            raise KeyRefusedError(reason, key_id=verdict.record.key_id, owner=verdict.owner.username)

    def _kept(self, name: bytes | None) -> Verdict | None:
        verdict = self.near.peek(name) if name is not None else None
        if verdict is None or not self.freshness.counts(verdict):
            return None
        self.read_at(Source.PROCESS)
        return verdict

    async def _prove(self, key: ApiKey, context: RequestContext) -> Verdict:
        self.negatives.check(key)
        cached = await self._cached(key)
        verdict = cached.verdict
        if verdict is not None and lacks_facts(verdict.record, verdict.owner, context.rules):
            verdict = None  # whoever read it knew another catalogue of scopes, or other claims
        if verdict is not None and self.freshness.counts_shared(verdict) and not _is_below(verdict, cached.floor):
            self.near.keep(key.name, verdict)
            self.read_at(Source.REDIS)
            return verdict
        try:
            return await self._look_up(key, context, cached.floor)
        except KeyRefusedError as refusal:
            if refusal.reason in _COSTLY:
                await self.limiter.fail(context.address, key.name.hex())  # not by id: each guess is a key of its own
            raise
        except CannotTellError as error:
            if isinstance(error, StillSearchingError) and key.stamp_pepper is None:
                await self.limiter.fail(context.address, key.name.hex())
            if self._is_stopped(key, cached.floor):
                raise KeyRefusedError(Reason.REVOKED, key_id=key.key_id) from error
            stale = self.near.peek(key.name) or verdict
            if stale is not None and self.freshness.counts_stale(stale) and not _is_below(stale, cached.floor):
                if self.near.peek(key.name) is not stale:
                    self.near.keep(key.name, stale)
                self.read_at(Source.STALE)
                return stale
            raise

    def _is_stopped(self, key: ApiKey, floor: Floor | None) -> bool:
        """Tell whether a key is known to be revoked or suspended although its record cannot be read."""
        return (floor is not None and floor.dead) or (key.key_id is not None and self.memory.is_stopped(key.key_id))

    async def _cached(self, key: ApiKey) -> Cached:
        try:
            return await self.far.get(key)
        except CannotTellError:  # a cache out of reach never stops a verification: the directory answers
            return Cached()

    async def _look_up(self, key: ApiKey, context: RequestContext, floor: Floor | None) -> Verdict:
        lane = await self._lane_for(key, context)
        for _ in range(_RACES):
            verdict = self.near.peek(key.name)
            if verdict is not None and self.freshness.counts(verdict):
                return verdict
            verdict = await self.flights.once(key.name, lambda: self._cold(key, context, lane, floor))
            if not self.memory.hears() or self.memory.counts_verdict(verdict, self.clock().timestamp()):
                return verdict
        raise CannotTellError("the key keeps changing while it is read")

    async def _lane_for(self, key: ApiKey, context: RequestContext) -> Lane:
        seconds = await self.limiter.wait(context.address)
        if not seconds:  # failures are counted when they end: few keys without a stamp are looked up at once
            return self.lane if key.stamp_pepper is not None else self.unstamped_lane
        if key.stamp_pepper is None:
            raise TooManyFailuresError(seconds)
        return self.slow_lane  # it is one of ours: its one query waits in line

    async def _cold(self, key: ApiKey, context: RequestContext, lane: Lane, floor: Floor | None) -> Verdict:
        position = self.memory.position
        try:
            async with lane.turn(context.address):
                position, read_at = self.memory.position, self.clock().timestamp()
                found = await self.lookup.find(key)
            source = Source.DIRECTORY
            if found is None:  # outside the lane: this may wait, and nobody else shall wait for it
                found = await self.lookup.find_unnamed(key, context.address)
                source = Source.INDEX
            record = found.proved.record
            self.check_floor(found.owner, record, floor or await self._floor(key, record), found.proved.gen)
        except KeyRefusedError as refusal:
            self.negatives.add(key, refusal, position)
            raise
        self.mender.heal(found)
        found = await self.lookup.with_roles(found, context.rules)
        idles_at = await self.idle.idles_at(record, read_at)
        self.read_at(source)
        return self._keep(key, Verdict.of(found.owner, record, position, read_at, idles_at))

    async def _floor(self, key: ApiKey, record: KeyRecord) -> Floor | None:
        if key.key_id is not None:
            return None  # it came with the verdict, in the same round trip
        return await self.floor(record.key_id)

    async def floor(self, key_id: str) -> Floor | None:
        """Return the floor of that key; None too while Redis is lost, when the directory alone answers."""
        try:
            return await self.far.floor(key_id)
        except CannotTellError:
            return None

    def _keep(self, key: ApiKey, verdict: Verdict) -> Verdict:
        self.near.keep(key.name, verdict)
        if self.far is not self.near:
            self.chores.add(("cache", key.name), lambda: self.far.put(key, verdict))
        return verdict


def _is_below(verdict: Verdict, floor: Floor | None) -> bool:
    return floor is not None and (verdict.record.gen < floor.gen or (floor.dead and verdict.record.revoked_at is None))
