"""Forged keys: as cheap as known ones, and nobody behind Keystile hears of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import wire
from bench.counted import Commands, idle_commands
from bench.keyring import forged_keys
from bench.wrk import per_cpu_second

if TYPE_CHECKING:
    from bench.counted import Spent
    from bench.estate import Site
    from bench.plan import Plan
    from bench.results import Row

_KEYS = 500
_USERS = "/users"  # the background asks Keycloak for events and for the realm, never for a user


def forged(plan: Plan) -> list[Row]:
    """Measure keys with a wrong stamp beside a known key; Redis and Keycloak count what they were asked meanwhile."""
    site = plan.estate.small
    known = [wire.verify(site.add_keys(1)[0].api_key)]
    strangers = [wire.verify(key) for key in forged_keys(_KEYS)]
    per_cpu_second(site.server, known, 1)  # from now on it is known
    idle = idle_commands(site.world.redis)
    beside = plan.beside(
        lambda: _rate(site, strangers, plan.seconds, idle), lambda: per_cpu_second(site.server, known, plan.seconds)
    )
    return [
        beside.row(
            "forged new-format key",
            "`/sts/verify` of a known key",
            "answers per CPU second",
            at_least=0.9,
            facts={"redis_commands_per_answer": 0, "keycloak_requests_per_answer": 0},  # asserted
        )
    ]


def _rate(site: Site, requests: list[bytes], seconds: float, idle: Spent) -> float:
    before, mark = Commands.of(site.world.redis), site.world.keycloak.mark()
    rate = per_cpu_second(site.server, requests, seconds, status=401)
    Commands.of(site.world.redis).since(before).check_no_more_than(idle)
    asked = site.world.keycloak.requests_since(mark)
    assert not [line for line in asked if _USERS in line], asked
    return rate
