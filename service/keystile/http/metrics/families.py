"""The metrics there are: the one table that the scrape, the dashboard, the alerts and the tests go by."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from keystile.authority.breaker import CALL_BOUNDS
from keystile.authority.memory import LAG_BOUNDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Together = Callable[[Sequence[list[float]]], list[float]]


class Kind(StrEnum):
    """What a metric is."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


def add(values: Sequence[list[float]]) -> list[float]:
    """Return the sum over workers."""
    return [sum(each) for each in zip(*values, strict=True)]


def highest(values: Sequence[list[float]]) -> list[float]:
    """Return the worst, or the latest: of several numbers the first decides."""
    return max(values)


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: labels with few values, never a key, an owner, an address or a path.

    *together*: what it is over all workers. A value is a list: of a histogram, its counts and their sum; else the last
    number is told.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    together: Together = add
    bounds: tuple[float, ...] = ()

    @property
    def samples(self) -> tuple[str, ...]:
        """The names under which it is told."""
        if self.kind is Kind.COUNTER:
            return (f"{self.name}_total",)
        if self.kind is Kind.HISTOGRAM:
            return (f"{self.name}_bucket", f"{self.name}_count", f"{self.name}_sum")
        return (self.name,)


VERIFICATIONS = Family(
    "keystile_verifications", Kind.COUNTER, "Presented credentials, by outcome and reason", ("outcome", "reason")
)
READS = Family("keystile_verdict_reads", Kind.COUNTER, "Verdicts, by where they were read", ("source",))
CHANGES = Family("keystile_key_changes", Kind.COUNTER, "Changes of keys made through this server", ("change",))
ALERTS = Family("keystile_alerts", Kind.COUNTER, "Alerts in the audit log: something an operator has to mend")
CALLS = Family(
    "keystile_dependency_seconds",
    Kind.HISTOGRAM,
    "Time of each call of Redis and Keycloak, failed ones too",
    ("dependency",),
    bounds=CALL_BOUNDS,
)
FAILURES = Family("keystile_dependency_failures", Kind.COUNTER, "Calls that failed or came to no end", ("dependency",))
OPEN = Family(
    "keystile_breaker_open", Kind.GAUGE, "1 while calls are not even tried, in any worker", ("dependency",), highest
)
DEGRADED = Family(
    "keystile_degraded", Kind.GAUGE, "1 for each dependency out of reach, of any worker", ("dependency",), highest
)
LOG_AGE = Family(
    "keystile_change_log_age_seconds",
    Kind.GAUGE,
    "Since the change log was last heard, in the worker that is furthest behind",
    together=highest,
)
EVENTS_AGE = Family(
    "keystile_events_age_seconds", Kind.GAUGE, "Since the last complete poll of Keycloak's events", together=highest
)
LAG = Family(
    "keystile_revocation_lag_seconds",
    Kind.HISTOGRAM,
    "From a change elsewhere that ends something to each worker's having heard of it",
    bounds=LAG_BOUNDS,
)
PENDING = Family(
    "keystile_pending_revocations",
    Kind.GAUGE,
    "Revocations and suspensions that bite, and wait to be written",
    together=highest,
)
CRAWLING = Family(
    "keystile_crawl_running", Kind.GAUGE, "1 while a worker pages through the realm for the index", together=highest
)
CRAWLED = Family("keystile_crawled_owners", Kind.COUNTER, "Owners read by crawls of this server")
COMPLETE = Family(
    "keystile_fallback_index_complete",
    Kind.GAUGE,
    "1 if the index of keys without a look-up value can say that one is unknown",
    together=highest,
)
LIVE = Family("keystile_live_keys", Kind.GAUGE, "Live keys of enabled owners, as last counted here", together=highest)
COUNTED_AT = Family(
    "keystile_live_keys_counted_timestamp_seconds", Kind.GAUGE, "When live keys were counted here", together=highest
)
KEPT = Family("keystile_verdicts_kept", Kind.GAUGE, "Verdicts kept in the processes' memory")
WORKERS = Family("keystile_workers", Kind.GAUGE, "Workers that told their numbers within the last seconds")
BUILD = Family("keystile_build_info", Kind.GAUGE, "1; what runs here", ("version", "python"), highest)

FAMILIES = (
    *(VERIFICATIONS, READS, CHANGES, ALERTS, CALLS, FAILURES, OPEN, DEGRADED, LOG_AGE, EVENTS_AGE, LAG, PENDING),
    *(CRAWLING, CRAWLED, COMPLETE, LIVE, COUNTED_AT, KEPT, WORKERS, BUILD),
)
