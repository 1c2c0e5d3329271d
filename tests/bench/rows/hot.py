"""The hot path: known keys at `/sts/verify` and `/sts/token`, beside the least that could do the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import wire
from bench.bare_server import BareServer, answer_of
from bench.embedded import embedded
from bench.wrk import per_cpu_second

if TYPE_CHECKING:
    from bench.plan import Plan
    from bench.results import Row

_PER = "answers per CPU second"


def verify(plan: Plan) -> list[Row]:
    """Measure a known key whose JWT is reused."""
    with embedded(plan.folder, "verify") as site:
        key = site.add_keys(1)[0].api_key
        with BareServer(plan.folder, app="verify", key=key, answer=answer_of(site.server.port, key)) as bare:
            requests = [wire.verify(key)]
            beside = plan.beside(
                lambda: per_cpu_second(site.server, requests, plan.seconds),
                lambda: per_cpu_second(bare, requests, plan.seconds),
            )
    against = "bare ASGI: one HMAC, one look-up, the same bytes"
    return [beside.row("`/sts/verify`, known key", against, _PER, at_least=0.75)]


def token(plan: Plan) -> list[Row]:
    """Measure a known key that gets a fresh ES256 JWT each time."""
    with embedded(plan.folder, "token", KEYSTILE_SIGNING_ALG="ES256") as site:
        key = site.add_keys(1)[0]
        with BareServer(plan.folder, app="token", key=key.api_key) as bare:
            requests = [wire.exchange(key.key_id, key.api_key)]
            beside = plan.beside(
                lambda: per_cpu_second(site.server, requests, plan.seconds),
                lambda: per_cpu_second(bare, requests, plan.seconds),
            )
    against = "bare ASGI: form, one HMAC, one ES256 signature"
    return [beside.row("`/sts/token`, known key, fresh ES256 JWT", against, _PER, at_least=0.70)]
