"""Metering: every counted request is counted before it is answered, most of them on a lease this process holds."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from cachetools import LRUCache

from keystile.authority.flights import Flights
from keystile.errors import CannotTellError, LimitReachedError, Reason
from keystile.limits import Measure
from keystile.meters import MOST_LEASED, Meter, limit_fields

if TYPE_CHECKING:
    from keystile.limits import Bucket, Levels
    from keystile.ports import Allowances, Clock, Ticks
    from keystile.records import KeyRecord, Owner

_MOST_METERS = 100_000  # one that is forgotten loses its lease
_ROUNDS = 1_000  # leases in a row of which others may leave nothing
_REASONS = {Measure.HOUR: Reason.RATE_LIMITED, Measure.DAY: Reason.RATE_LIMITED}


class Metering:
    """Counts the requests of keys that have limits; one that has none costs nothing.

    While the store is out of reach, what is leased is used up; then *allow_uncounted* says whether requests are let
    through uncounted or refused with a `CannotTellError`.
    """

    def __init__(
        self, allowances: Allowances, levels: Levels, *, clock: Clock, ticks: Ticks, allow_uncounted: bool = False
    ) -> None:
        self._allowances = allowances
        self._levels = levels
        self._clock = clock
        self._ticks = ticks
        self._allow_uncounted = allow_uncounted
        self._meters: LRUCache[Bucket, Meter] = LRUCache(_MOST_METERS)
        self._flights: Flights[None] = Flights(_MOST_METERS)

    def meters_of(self, record: KeyRecord, owner: Owner) -> tuple[Meter, ...]:
        """Return what a request of this key is counted on: nothing if it has no limits."""
        return tuple(map(self._meter, self._levels.buckets_of(record, owner)))

    def spend(self, meters: tuple[Meter, ...]) -> bool:
        """Count one request on every one of *meters*, or on none if one has nothing leased."""
        now = self._ticks()
        for meter in meters:
            if not meter.has_some(now):
                return False
        for meter in meters:
            meter.left -= 1
        return True

    async def count(self, record: KeyRecord, owner: Owner) -> bool:
        """Count one request of that key; return whether the store was asked, which takes its time.

        Raises a `LimitReachedError` if a limit is spent.
        """
        meters = self.meters_of(record, owner)
        if self.spend(meters):
            return False
        try:
            await self._lease(meters, record, owner)
        except CannotTellError:
            if not self._allow_uncounted:
                raise
        return True

    async def charge(self, record: KeyRecord, owner: Owner, cents: int) -> None:
        """Count what use of that key has cost, where it has a limit of cost. Raises `CannotTellError`.

        Spent, it ends what this process leased; another one refuses when its own lease is used up.
        """
        if cents < 0:
            raise ValueError("use costs nothing or more")
        for meter in self.meters_of(record, owner):
            if meter.bucket.has_cost:
                at = self._clock().timestamp()
                if await self._allowances.charge(meter.bucket, cents=cents, at=at) < 1:
                    meter.give_up()

    def fields(self, meters: tuple[Meter, ...]) -> tuple[str, str]:
        """Return the values of `RateLimit` and `RateLimit-Policy`."""
        return limit_fields(meters, self._ticks())

    def _meter(self, bucket: Bucket) -> Meter:
        meter = self._meters.get(bucket)
        if meter is None:
            meter = self._meters[bucket] = Meter(bucket)
        return meter

    async def _lease(self, meters: tuple[Meter, ...], record: KeyRecord, owner: Owner) -> None:
        for _ in range(_ROUNDS):
            for meter in meters:
                await self._fill(meter)
                if self._ticks() < meter.refused_until:
                    raise self._reached(meter, meters, record, owner)
            if self.spend(meters):
                return
        raise CannotTellError("too many requests of one key at once")

    async def _fill(self, meter: Meter) -> None:
        """Wait until *meter* has a lease or was refused one: all who wait at once share one question."""
        now = self._ticks()
        if meter.has_some(now) or now < meter.refused_until:
            return
        meter.waiting += 1
        try:
            await self._flights.once(meter, lambda: self._take(meter))
        finally:
            meter.waiting -= 1

    async def _take(self, meter: Meter) -> None:
        at, now = self._clock().timestamp(), self._ticks()  # before it is asked: the lease ends early, never late
        needed = max(1, min(MOST_LEASED, meter.waiting))
        allowance = await self._allowances.take(meter.bucket, needed=needed, ahead=meter.ahead(now), at=at)
        meter.fill(allowance.granted, allowance.left, at, now)

    def _reached(self, meter: Meter, meters: tuple[Meter, ...], record: KeyRecord, owner: Owner) -> LimitReachedError:
        spent = meter.spent()
        return LimitReachedError(
            _REASONS.get(spent.measure, Reason.QUOTA_EXCEEDED),
            limit=spent.name,
            retry_after=ceil(spent.resets_at - self._ticks()),
            fields=self.fields(meters),
            key_id=record.key_id,
            owner=owner.username,
        )
