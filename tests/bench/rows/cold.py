"""The cold exchange: a key that no cache knows, in a small realm, in a large one, and by Keycloak's own client."""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from keycloak import KeycloakAdmin, KeycloakOpenIDConnection

from bench import wire
from bench.estate import FEW, MANY
from bench.machine import SERVER_CORE, on_core
from bench.paced import Pace
from bench.plan import Beside

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.estate import Site
    from bench.keyring import BulkKey
    from bench.plan import Plan
    from bench.results import Row

_KEYS = 22  # in each round, each asked once


def cold(plan: Plan) -> list[Row]:
    """Measure one after another, in turn: an exchange and the bare query, in the small realm and in the large one."""
    sites = (plan.estate.small, plan.estate.large)
    with ExitStack() as stack:
        asked: list[Callable[[BulkKey], float]] = []
        for site in sites:  # both asked as often: a Keycloak that is asked more often answers faster
            asked.append(partial(_exchange, stack.enter_context(Pace(site.server.port, 1))))
            asked.append(stack.enter_context(BareQuery(site)).ask)
        keys = [site.add_keys(_KEYS * (plan.rounds + 1)) for site in sites for _ in range(2)]
        taken = [_in_turn(number, asked, each) for number, each in enumerate(zip(*keys, strict=True))]
    rounds = [taken[at : at + _KEYS] for at in range(_KEYS, len(taken), _KEYS)]  # the first is for warming up
    return _rows([[statistics.median(column) * 1000 for column in zip(*one, strict=True)] for one in rounds])


def _rows(rounds: list[list[float]]) -> list[Row]:
    """Return what the rounds' medians say, in milliseconds: few, few by the bare query, many, many by it."""
    size = Beside([(many, few) for few, _, many, _ in rounds])
    call = Beside([(many, bare) for _, _, many, bare in rounds])
    queries = Beside([(many, few) for _, few, _, many in rounds])
    what, facts = f"cold exchange, {MANY:,} users", {"keys_per_round": _KEYS, "bare_queries_ratio": queries.ratio}
    return [
        size.row(what, f"{FEW} users", "ms", at_most=1.3, facts=facts),
        call.row(what, "bare python-keycloak call of the same query", "ms", at_most=1.4, facts=facts),
    ]


def _in_turn(number: int, asked: list[Callable[[BulkKey], float]], keys: Sequence[BulkKey]) -> list[float]:
    """Ask each for its key, every other time in reverse: who comes second finds Keycloak awake."""
    order = range(len(asked)) if number % 2 else reversed(range(len(asked)))
    taken = {index: asked[index](keys[index]) for index in order}
    return [taken[index] for index in range(len(asked))]


def _exchange(pace: Pace, key: BulkKey) -> float:
    # From the core that waits, as with the bare query: Keycloak works on after its answer, and a client on its core
    # would be charged for that.
    with on_core(SERVER_CORE):
        (answer,) = pace.run([wire.exchange(key.key_id, key.api_key)])
    assert answer.status == 200, answer
    return answer.seconds


class BareQuery:
    """python-keycloak on a warm connection, as Keystile's reader, on the core that Keystile has otherwise."""

    def __init__(self, site: Site) -> None:
        self._runner = asyncio.Runner()
        self._connection = KeycloakOpenIDConnection(**site.reader(), grant_type="client_credentials", timeout=5)
        self._admin = KeycloakAdmin(connection=self._connection)

    def ask(self, key: BulkKey) -> float:
        """Return the seconds that the query for *key* takes, or raise AssertionError if it finds nothing."""
        with on_core(SERVER_CORE):
            return self._runner.run(self._ask(key))

    async def _ask(self, key: BulkKey) -> float:
        query: dict[str, Any] = {"q": f"apiKeyLookup:{key.lookup}", "max": 2, "briefRepresentation": False}
        began = time.perf_counter()
        users = await self._admin.a_get_users(query)
        seconds = time.perf_counter() - began
        assert [user["username"] for user in users] == [key.owner]
        return seconds

    async def _close(self) -> None:
        await self._connection.aclose()
        await self._connection.keycloak_openid.connection.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._runner.run(self._close())
        self._runner.close()
