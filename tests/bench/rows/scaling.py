"""Scaling: what a second worker and the second core bring, as far as the load generator leaves that core free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import wire
from bench.embedded import embedded
from bench.machine import BOTH, SERVER_CORE, pin
from bench.wrk import drive

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.embedded import Embedded
    from bench.keyring import BulkKey
    from bench.plan import Plan
    from bench.results import Row

_AGAINST = "1 worker on one core, the load on the other"
_PER = "answers per second"


def scaling(plan: Plan) -> list[Row]:
    """Measure one worker on a core of its own, and two on both cores, which they share with the load.

    An exchange costs its sender little, so its row comes closest to what a core without a load generator brings.
    """
    with (
        embedded(plan.folder, "one", KEYSTILE_SIGNING_ALG="ES256") as one,
        embedded(plan.folder, "two", KEYSTILE_SIGNING_ALG="ES256", KEYSTILE_WORKERS="2") as two,
    ):
        pin(two.server, *BOTH)
        return [
            plan.beside(_rate(plan, two, BOTH, ask), _rate(plan, one, (SERVER_CORE,), ask)).row(what, _AGAINST, _PER)
            for what, ask in _DOORS.items()
        ]


_DOORS: dict[str, Callable[[BulkKey], bytes]] = {
    "`/sts/token`, 2 workers, sharing both cores with the load": lambda key: wire.exchange(key.key_id, key.api_key),
    "`/sts/verify`, 2 workers, sharing both cores with the load": lambda key: wire.verify(key.api_key),
}


def _rate(
    plan: Plan, site: Embedded, server_cores: tuple[int, ...], ask: Callable[[BulkKey], bytes]
) -> Callable[[], float]:
    requests = [ask(site.add_keys(1)[0])]
    load_cores = tuple(set(BOTH) - set(server_cores)) or BOTH
    return lambda: drive(site.server.port, requests, plan.seconds, *load_cores).only(200).per_second
