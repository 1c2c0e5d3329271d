"""The rows of the table, by group; each group returns its own and starts what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.rows.beside_keycloak import keycloak
from bench.rows.cold import cold
from bench.rows.flood import flood
from bench.rows.forged import forged
from bench.rows.hot import token, verify
from bench.rows.introspect import introspect
from bench.rows.latency import latency
from bench.rows.limited import limited
from bench.rows.memory import memory
from bench.rows.redis import redis
from bench.rows.scaling import scaling
from bench.rows.single import single
from bench.rows.storm import storm

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.plan import Plan
    from bench.results import Row

# In this order: first what needs no other server, while none is there to disturb it; the storm empties Redis, so it
# is the last.
GROUPS: dict[str, Callable[[Plan], list[Row]]] = {
    "verify": verify,
    "token": token,
    "introspect": introspect,
    "limited": limited,
    "latency": latency,
    "scaling": scaling,
    "memory": memory,
    "keycloak": keycloak,
    "redis": redis,
    "forged": forged,
    "flood": flood,
    "single": single,
    "cold": cold,
    "storm": storm,
}
