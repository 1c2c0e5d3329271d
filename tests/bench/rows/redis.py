"""Keys known to Redis only: no verdict in this process, one round trip for each request."""

from __future__ import annotations

import statistics
from contextlib import closing
from typing import TYPE_CHECKING

from redis import Redis

from bench import wire
from bench.bare_server import BareServer, answer_of
from bench.counted import Commands, idle_commands, lookups
from bench.machine import SERVER_CORE, cpu_seconds, pin
from bench.paced import Pace
from bench.wrk import drive, per_cpu_second
from keystile.adapters.redis.cache import verdict_name
from keystile.keys import KeyFormat
from keystile.peppers import Peppers
from keystile.settings import Settings
from stack import KeystileServer

if TYPE_CHECKING:
    from bench.counted import Spent
    from bench.estate import Site
    from bench.keyring import BulkKey
    from bench.plan import Plan
    from bench.results import Row
    from stack import RedisServer

_KEYS = 400  # so that no single one is hot
_TIMES = 5  # each key is asked for by the lone caller
_ONE = 0.05  # how far from one round trip the background's own irregularity may take the count


def redis(plan: Plan) -> list[Row]:
    """Measure requests that each ask Redis, exactly once; nobody asks Keycloak."""
    site = plan.estate.small
    keys = site.add_keys(_KEYS)
    settings = {**site.world.environment, "KEYSTILE_CACHE_ENTRIES": _none()}
    with KeystileServer(settings, log_path=plan.folder / "redis-only.log") as server:
        pin(server, SERVER_CORE)
        requests = [wire.verify(key.api_key) for key in keys]
        _make_known(server, requests)
        _copy_verdicts(site, keys)
        answer = answer_of(server.port, keys[0].api_key)
        with BareServer(plan.folder, app="redis", redis=site.world.redis.url, answer=answer) as bare:
            trips: list[float] = []
            idle, mark = idle_commands(site.world.redis), site.world.keycloak.mark()
            alone = _trips_of_one(server, requests, site.world.redis, idle)
            beside = plan.beside(
                lambda: _rate(server, requests, plan.seconds, site.world.redis, idle, trips),
                lambda: per_cpu_second(bare, requests, plan.seconds),
            )
            assert lookups(site.world.keycloak.requests_since(mark)) == 0
    return [
        beside.row(
            "key known to Redis only (in-process cache off)",
            "bare redis-py GET, the same answer",
            "answers per CPU second",
            at_least=0.6,
            facts={
                "keys": _KEYS,
                "round_trips_per_answer_of_one_caller": round(alone, 3),
                "round_trips_per_answer": round(statistics.median(trips), 3),
            },
        )
    ]


def _none() -> str:
    """Return how the cache is told to keep nothing, or where it cannot be, next to nothing."""
    bounds = Settings.model_fields["cache_entries"].metadata
    return str(max(getattr(bound, "ge", 0) for bound in bounds))


def _make_known(server: KeystileServer, requests: list[bytes]) -> None:
    with Pace(server.port, 1) as pace:
        for _ in range(2):  # what the first look-up found is put into Redis after its answer
            assert {answer.status for answer in pace.run(requests)} == {200}


def _copy_verdicts(site: Site, keys: list[BulkKey]) -> None:
    """Give the bare application values of the same length to read."""
    shape = KeyFormat(Peppers.parse(site.pepper))
    with closing(Redis.from_url(site.world.redis.url)) as client:
        for key in keys:
            sealed = client.get(verdict_name(shape.parse(key.api_key)))
            assert sealed, "a verified key is not in Redis"
            client.set(f"bench:{key.key_id}", sealed)


def _trips_of_one(server: KeystileServer, requests: list[bytes], redis: RedisServer, idle: Spent) -> float:
    """Return the round trips for each answer where nobody is there to share them with: exactly one."""
    before = Commands.of(redis)
    with Pace(server.port, 1) as pace:
        answers = pace.run(requests * _TIMES)
    assert {answer.status for answer in answers} == {200}
    trips = Commands.of(redis).since(before).round_trips_beyond(idle) / len(answers)
    assert abs(trips - 1) < _ONE, f"{trips} round trips for one answer"
    return trips


def _rate(
    server: KeystileServer, requests: list[bytes], seconds: float, redis: RedisServer, idle: Spent, trips: list[float]
) -> float:
    before, cpu = Commands.of(redis), cpu_seconds(server)
    answers = drive(server.port, requests, seconds).only(200).answers
    rate = answers / (cpu_seconds(server) - cpu)
    trips.append(Commands.of(redis).since(before).round_trips_beyond(idle) / answers)
    assert trips[-1] < 1 + _ONE, f"{trips[-1]} round trips for one answer"  # fewer: answers share them
    return rate
