"""Reading the numbers of this process: from the counters that its parts keep anyway."""

from __future__ import annotations

import platform
import time
from importlib.metadata import version
from typing import TYPE_CHECKING

from keystile.authority.auditing import CHANGES
from keystile.authority.counts import ACCEPTED, Source
from keystile.http.metrics import families
from keystile.http.metrics.readings import Reading

if TYPE_CHECKING:
    from keystile.assembly import Deployment
    from keystile.histograms import Histogram

_BUILD = (version("keystile"), platform.python_version())


def read(deployment: Deployment) -> Reading:
    """Return the numbers of this moment; some 100 microseconds."""
    reading = Reading(time.monotonic())
    reading.put(families.BUILD, *_BUILD, value=1)
    reading.put(families.WORKERS, value=1)
    _put_requests(reading, deployment)
    _put_dependencies(reading, deployment)
    _put_log(reading, deployment)
    _put_keys(reading, deployment)
    return reading


def _put_requests(reading: Reading, deployment: Deployment) -> None:
    counts = deployment.auditor.counts
    for (outcome, reason), number in counts.outcomes.items():
        reading.put(families.VERIFICATIONS, outcome, reason, value=number)
    reading.put(families.VERIFICATIONS, *ACCEPTED, value=counts.accepted)
    for source in Source:
        standing = counts.standing if source is Source.PROCESS else 0
        reading.put(families.READS, source.value, value=counts.reads[source] + standing)
    for change in CHANGES.values():
        reading.put(families.CHANGES, change, value=counts.changes[change])
    reading.put(families.ALERTS, value=counts.alerts)
    reading.put(families.KEPT, value=len(deployment.verifier.near))


def _put_dependencies(reading: Reading, deployment: Deployment) -> None:
    for name, breaker in {**deployment.breakers, **deployment.others}.items():
        reading.put(families.CALLS, name, value=_flat(breaker.seconds))
        reading.put(families.FAILURES, name, value=breaker.failures)
        reading.put(families.OPEN, name, value=int(breaker.is_open))
    degraded = deployment.degraded()
    for dependency in deployment.dependencies:
        reading.put(families.DEGRADED, dependency, value=int(dependency in degraded))


def _put_log(reading: Reading, deployment: Deployment) -> None:
    memory = deployment.memory
    reading.put(families.LOG_AGE, value=memory.silent_for())
    if deployment.followed:
        reading.put(families.EVENTS_AGE, value=memory.unfollowed_for())
    reading.put(families.LAG, value=_flat(memory.lags))
    reading.put(families.PENDING, value=len(memory.pending()))


def _put_keys(reading: Reading, deployment: Deployment) -> None:
    index, census = deployment.index, deployment.census
    if index is not None:
        reading.put(families.CRAWLING, value=int(index.is_crawling))
        reading.put(families.CRAWLED, value=index.crawled)
        if index.is_complete is not None:
            reading.put(families.COMPLETE, value=int(index.is_complete))
    if census.live is not None:
        reading.put(families.LIVE, value=(census.counted_at, census.live))
        reading.put(families.COUNTED_AT, value=census.counted_at)


def _flat(histogram: Histogram) -> list[float]:
    return [*histogram.counts, histogram.total]
