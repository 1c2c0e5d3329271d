"""A flood of validly stamped keys that nobody holds, beside callers whose keys are known."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from typing import TYPE_CHECKING

from bench import wire
from bench.counted import lookups
from bench.keyring import unknown_keys
from bench.wrk import drive, running

if TYPE_CHECKING:
    from bench.estate import Site
    from bench.plan import Plan
    from bench.results import Row

_KNOWN, _UNKNOWN = 100, 50_000  # more than any store of refusals keeps
_LEAD = 1  # seconds of flood before known keys are counted
_REST = 2  # seconds until what the flood left behind is worked off
_REFUSALS = (401, 429, 503)


def flood(plan: Plan) -> list[Row]:
    """Measure how much of their rate known keys keep, and what Keycloak is asked meanwhile."""
    site = plan.estate.small
    known = [wire.verify(key.api_key) for key in site.add_keys(_KNOWN)]
    strangers = [wire.verify(key) for key in unknown_keys(site.pepper, _UNKNOWN)]
    drive(site.server.port, known, 1).only(200)  # from now on they are known
    queries: list[float] = []
    refusals: Counter[str] = Counter()
    beside = plan.beside(
        lambda: _rate_in_flood(site, known, strangers, plan.seconds, queries, refusals),
        lambda: drive(site.server.port, known, plan.seconds).only(200).per_second,
    )
    return [
        beside.row(
            "known keys during a flood of validly stamped unknown keys",
            "known keys alone",
            "answers per second",
            at_least=0.5,
            facts={
                "keycloak_queries_per_second": round(statistics.median(queries), 1),
                **{f"refused_with_{status}": count for status, count in sorted(refusals.items())},
            },
        )
    ]


def _rate_in_flood(
    site: Site,
    known: list[bytes],
    strangers: list[bytes],
    seconds: float,
    queries: list[float],
    refusals: Counter[str],
) -> float:
    mark = site.world.keycloak.mark()
    with running(site.server.port, strangers, seconds + 2 * _LEAD) as flooding:
        time.sleep(_LEAD)
        load = drive(site.server.port, known, seconds).only(200)
        refused = flooding.finish().only(*_REFUSALS)
    time.sleep(_REST)
    queries.append(lookups(site.world.keycloak.requests_since(mark)) / refused.seconds)
    refusals.update(refused.statuses)
    return load.per_second
