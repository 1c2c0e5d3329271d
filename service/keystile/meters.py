"""Meters: what one process has leased of a bucket and hands out on its own, and what it last heard of the rest."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf
from typing import TYPE_CHECKING

from keystile.limits import Measure, window_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from keystile.limits import Bucket

MOST_LEASED = 100  # requests in one lease: what a process that ends may lose
_REFUSED_FOR = 1.0  # seconds until a store that said "spent" is asked again
_SHORTEST = 0.01  # seconds: no rate is reckoned over less


@dataclass(frozen=True, slots=True)
class Standing:
    """One quota as last heard of: what the store has *left* of it until *resets_at* (ticks)."""

    name: str
    measure: Measure
    most: int
    left: int
    seconds: int
    resets_at: float


class Meter:
    """The lease of one process on one bucket: *left* requests until *until*; all moments are ticks.

    *waiting* requests wait for the next lease. What is left at its end is lost: it is counted in the store.
    """

    __slots__ = (
        "_asked_at",
        "_leased",
        "_told",
        "bucket",
        "left",
        "policies",
        "refused_until",
        "standings",
        "until",
        "waiting",
    )

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.left = 0
        self.until = -inf
        self.refused_until = -inf
        self.waiting = 0
        self.standings: tuple[Standing, ...] = ()
        self.policies = ""
        self._told: tuple[tuple[str, int, float], ...] = ()
        self._leased = 0
        self._asked_at = -inf

    def has_some(self, now: float) -> bool:
        """Tell whether a request may be counted here without asking the store."""
        return self.left > 0 and now < self.until

    def ahead(self, now: float) -> int:
        """Return how many requests to ask for: a second's worth at the last lease's rate, at most twice that lease."""
        a_second = self._leased / max(now - self._asked_at, _SHORTEST)
        return max(1, min(MOST_LEASED, 2 * self._leased, int(a_second)))

    def fill(self, granted: int, left: Sequence[int], at: float, now: float) -> None:
        """Note what the store answered when it was asked at *at* (epoch seconds), which was *now*."""
        title = self.bucket.title
        windows = [window_of(quota.measure, at) for quota in self.bucket.quotas]
        self.standings = tuple(
            Standing(
                f"{title}-{quota.measure}", quota.measure, quota.most, rest, window.seconds, now + window.ends_at - at
            )
            for quota, rest, window in zip(self.bucket.quotas, left, windows, strict=True)
        )
        self.left, self._leased, self._asked_at = granted, granted, now
        self.until = min(standing.resets_at for standing in self.standings)
        self.refused_until = -inf if granted else min(now + _REFUSED_FOR, self.until)
        counted = [standing for standing in self.standings if standing.measure.counts_requests]
        self.policies = ", ".join(f'"{each.name}";q={each.most};w={each.seconds}' for each in counted)
        self._told = tuple((f'"{each.name}";r=', max(0, each.left), each.resets_at) for each in counted)

    def limits(self, now: float) -> str:
        """Return what is left of each quota of requests, and in how many seconds it begins anew."""
        left = self.left
        return ", ".join(
            [f"{name}{rest + left};t={max(0, ceil(resets_at - now))}" for name, rest, resets_at in self._told]
        )

    def give_up(self) -> None:
        """Count nothing more on this lease."""
        self.left = 0

    def spent(self) -> Standing:
        """Return the quota that is spent for longest, once the store has refused."""
        return max((each for each in self.standings if each.left < 1), key=lambda each: each.resets_at)


def limit_fields(meters: Iterable[Meter], now: float) -> tuple[str, str]:
    """Return the values of `RateLimit` and `RateLimit-Policy`: what is known here, "" where that is nothing.

    See draft-ietf-httpapi-ratelimit-headers. Cents are no quota of requests, so they are not told.
    """
    heard = [meter for meter in meters if meter.policies]
    return ", ".join([meter.limits(now) for meter in heard]), ", ".join([meter.policies for meter in heard])
