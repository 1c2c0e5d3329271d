"""The restart storm: Redis is empty, Keystile has just started, and everybody comes at once."""

from __future__ import annotations

import random
import statistics
from typing import TYPE_CHECKING

from redis import Redis

from bench import wire
from bench.counted import lookups
from bench.machine import LOAD_CORE, on_core
from bench.paced import Pace, percentile

if TYPE_CHECKING:
    from bench.estate import Site
    from bench.keyring import BulkKey
    from bench.paced import Answer
    from bench.plan import Plan
    from bench.results import Row

_KEYS = 5_000
_RATE = 150  # requests a second
_SECONDS = 10  # of each round, whose keys are another sample: each is asked once, so each is cold
_CONNECTIONS = 500  # so that callers who wait keep nobody else from coming
_LONGEST = 10  # seconds that anybody may wait


def storm(plan: Plan) -> list[Row]:
    """Measure Keystile in front of Keycloak, and Keycloak asked directly, at the same rate for the same keys."""
    site = plan.estate.large
    keys = site.add_keys(_KEYS)
    order = random.Random(1)  # noqa: S311 - which keys come in which round
    waits: list[float] = []
    asked: list[int] = []
    counts = {200: 0, 503: 0}

    def through_keystile() -> float:
        _start_over(site)
        mark = site.world.keycloak.mark()
        answers = _open_loop(site.server.port, [wire.verify(key.api_key) for key in _sample(order, keys)])
        asked.append(lookups(site.world.keycloak.requests_since(mark)))
        waits.extend(answer.seconds for answer in answers)
        return _answered(answers, counts)

    def bare() -> float:
        token = site.reader_token()
        answers = _open_loop(site.world.keycloak.port, [site.query(key, token) for key in _sample(order, keys)])
        return _answered(answers, {200: 0})

    beside = plan.beside(through_keystile, bare)
    return [
        beside.row(
            f"restart storm: Redis flushed and Keystile restarted, {_KEYS:,} keys, {_RATE} requests/s",
            "the bare indexed query to Keycloak, same load",
            "cold look-ups per second",
            at_least=0.8,
            facts={
                "answered_200": counts[200],
                "answered_503": counts[503],
                "keycloak_queries_per_round": statistics.median(asked),
                "wait_p50_ms": round(percentile(waits, 0.5) * 1000, 1),
                "wait_p99_ms": round(percentile(waits, 0.99) * 1000, 1),
                "wait_longest_ms": round(max(waits) * 1000, 1),
            },
        )
    ]


def _start_over(site: Site) -> None:
    site.server.stop()
    with Redis.from_url(site.world.redis.url) as client:
        client.flushall()
    site.server.start()
    site.pin()


def _sample(order: random.Random, keys: list[BulkKey]) -> list[BulkKey]:
    return order.sample(keys, _RATE * _SECONDS)


def _open_loop(port: int, requests: list[bytes]) -> list[Answer]:
    with on_core(LOAD_CORE), Pace(port, _CONNECTIONS) as pace:
        return pace.run(requests, _RATE)


def _answered(answers: list[Answer], counts: dict[int, int]) -> float:
    """Return how many were answered with 200 per second, and count all; a wrong answer is an AssertionError."""
    for answer in answers:
        assert answer.status in counts, answer
        assert answer.status == 200 or answer.retry_after, answer
        assert answer.seconds < _LONGEST, answer
        counts[answer.status] += 1
    good = sum(answer.status == 200 for answer in answers)
    return good / max(_SECONDS, answers[-1].at)
