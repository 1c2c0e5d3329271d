"""What counting costs: a key with limits at `/sts/verify`, beside one without on the same server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import wire
from bench.embedded import embedded
from bench.wrk import per_cpu_second
from keystile.restrictions import Policy

if TYPE_CHECKING:
    from bench.plan import Plan
    from bench.results import Row

_NEVER_SPENT = 10**12
_LIMITS = Policy(
    scopes=("tools:read", "tools:call"),
    requests_per_hour=_NEVER_SPENT,
    requests_per_day=_NEVER_SPENT,
    requests_per_month=_NEVER_SPENT,
    cost_cents_per_month=_NEVER_SPENT,
)


def limited(plan: Plan) -> list[Row]:
    """Measure a known key whose every request is counted in its hour, day and month."""
    with embedded(plan.folder, "limited") as site:
        counted, free = site.add_keys(1, _LIMITS)[0].api_key, site.add_keys(1)[0].api_key
        beside = plan.beside(
            lambda: per_cpu_second(site.server, [wire.verify(counted)], plan.seconds),
            lambda: per_cpu_second(site.server, [wire.verify(free)], plan.seconds),
        )
    against = "a key without limits"
    return [beside.row("`/sts/verify`, known key with limits", against, "answers per CPU second")]
