"""Memory: what 100,000 verdicts cost a process, and that a setting bounds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import wire
from bench.embedded import embedded
from bench.machine import LOAD_CORE, on_core, resident_megabytes
from bench.paced import Pace
from bench.results import Row
from bench.wrk import CONNECTIONS

if TYPE_CHECKING:
    from bench.keyring import BulkKey
    from bench.plan import Plan
    from stack import KeystileServer

_VERDICTS = 100_000  # the default of KEYSTILE_CACHE_ENTRIES
_BEYOND = 10_000
_GROWTH = 1.05  # beyond the bound, as far as the allocator's pages go


def memory(plan: Plan) -> list[Row]:
    """Verify each key once, so each verdict holds its prepared answer with an RS256 JWT."""
    with embedded(plan.folder, "memory") as site:
        keys = site.add_keys(_VERDICTS + _BEYOND)
        empty = resident_megabytes(site.server)
        _verify_once(site.server, keys[:_VERDICTS])
        full = resident_megabytes(site.server)
        _verify_once(site.server, keys[_VERDICTS:])
        beyond = resident_megabytes(site.server)
    assert beyond <= full * _GROWTH, (full, beyond)
    return [
        Row(
            what="memory of one process with 100,000 cached verdicts",
            against="bounded by `KEYSTILE_CACHE_ENTRIES`",
            value=round(full),
            unit="MB",
            at_most=400,
            rounds=1,
            facts={"empty_mb": round(empty), "after_110000_keys_mb": round(beyond)},
        )
    ]


def _verify_once(server: KeystileServer, keys: list[BulkKey]) -> None:
    with on_core(LOAD_CORE), Pace(server.port, CONNECTIONS) as pace:
        answers = pace.run([wire.verify(key.api_key) for key in keys])
    assert {answer.status for answer in answers} == {200}
