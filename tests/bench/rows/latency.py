"""Latency: what one in a hundred waits for at half of the peak."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from bench import wire
from bench.bare_server import BareServer, answer_of
from bench.embedded import embedded
from bench.machine import LOAD_CORE, on_core
from bench.paced import Pace, percentile
from bench.results import Row
from bench.wrk import CONNECTIONS, drive

if TYPE_CHECKING:
    from bench.plan import Plan


def latency(plan: Plan) -> list[Row]:
    """Measure `/sts/verify` of a known key at a constant rate; the bare application shows the floor."""
    with embedded(plan.folder, "latency") as site:
        key = site.add_keys(1)[0].api_key
        request = wire.verify(key)
        with BareServer(plan.folder, app="verify", key=key, answer=answer_of(site.server.port, key)) as bare:
            rates, here, there = [], [], []
            for _ in range(plan.rounds):
                rate = drive(site.server.port, [request], plan.seconds).only(200).per_second / 2
                rates.append(rate)
                here.append(_p99(site.server.port, request, rate, plan.seconds))
                there.append(_p99(bare.port, request, rate, plan.seconds))
    return [
        Row(
            what="p99 of `/sts/verify` at half of its peak rate",
            against="the bare ASGI app at the same rate (no target)",
            value=round(statistics.median(here), 2),
            unit="ms",
            at_most=5,
            here=round(statistics.median(here), 2),
            there=round(statistics.median(there), 2),
            per="ms",
            rounds=plan.rounds,
            facts={"requests_per_second": round(statistics.median(rates))},
        )
    ]


def _p99(port: int, request: bytes, rate: float, seconds: float) -> float:
    with on_core(LOAD_CORE), Pace(port, CONNECTIONS) as pace:
        answers = pace.run([request] * int(rate * seconds), rate)
    assert {answer.status for answer in answers} == {200}
    return percentile([answer.seconds for answer in answers], 0.99) * 1000
