"""Single flight: one key that nobody knows yet, and 32 callers at the same moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import wire
from bench.counted import lookups
from bench.machine import LOAD_CORE, on_core
from bench.paced import Pace
from bench.results import Row
from bench.wrk import CONNECTIONS

if TYPE_CHECKING:
    from bench.plan import Plan


def single(plan: Plan) -> list[Row]:
    """Ask for another key in each round: one look-up for all, and everybody is answered."""
    site = plan.estate.small
    keys = iter(site.add_keys(plan.rounds))

    def cold() -> float:
        requests[:] = [wire.verify(next(keys).api_key)] * CONNECTIONS
        mark = site.world.keycloak.mark()
        seconds = _slowest(site.server.port, requests)
        asked = lookups(site.world.keycloak.requests_since(mark))
        assert asked == 1, f"{asked} look-ups for one key"
        return seconds

    requests = [wire.verify(site.add_keys(1)[0].api_key)] * CONNECTIONS
    _slowest(site.server.port, requests)
    beside = plan.beside(cold, lambda: _slowest(site.server.port, requests))
    return [
        Row(
            what="one key, 32 parallel callers, cold: look-ups (until the last is answered: here cold, there warm)",
            against="itself warm",
            value=1,  # asserted in each round
            unit="look-up",
            at_most=1,
            here=beside.here,
            there=beside.there,
            per="ms",
            rounds=plan.rounds,
            facts={"failures": 0, "cold_to_warm": beside.ratio},
        )
    ]


def _slowest(port: int, requests: list[bytes]) -> float:
    """Send all at once; return the milliseconds until the last answer."""
    with on_core(LOAD_CORE), Pace(port, CONNECTIONS) as pace:
        answers = pace.run(requests)
    assert {answer.status for answer in answers} == {200}
    return max(answer.seconds for answer in answers) * 1000
