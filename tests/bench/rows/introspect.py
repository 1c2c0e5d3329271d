"""Introspection: JWTs that a resource server asks about again and again, beside one signature that is verified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from bench import wire
from bench.bare_server import BareServer
from bench.embedded import embedded
from bench.wrk import per_cpu_second
from keystile.restrictions import Policy
from stack.ports import LOOPBACK

if TYPE_CHECKING:
    from bench.keyring import BulkKey
    from bench.plan import Plan
    from bench.results import Row

_KEYS = 200


def introspect(plan: Plan) -> list[Row]:
    """Measure JWTs of many keys, each seen before."""
    with embedded(plan.folder, "introspect", KEYSTILE_SIGNING_ALG="ES256") as site:
        server = site.add_keys(1, Policy(scopes=("introspect",)))[0]
        url = f"http://{LOOPBACK}:{site.server.port}/sts"
        with httpx.Client(base_url=url, trust_env=False) as client:
            tokens = [_jwt(client, key) for key in site.add_keys(_KEYS)]
            (jwk,) = client.get("/jwks.json").json()["keys"]
        requests = [wire.introspect(token, server.api_key) for token in tokens]
        with BareServer(plan.folder, app="introspect", jwk=jwk) as bare:
            beside = plan.beside(
                lambda: per_cpu_second(site.server, requests, plan.seconds),
                lambda: per_cpu_second(bare, requests, plan.seconds),
            )
    against = "bare ASGI: form, one ES256 signature verified"
    row = beside.row("`/sts/introspect`, JWTs seen before", against, "answers per CPU second", at_least=0.65)
    return [row]


def _jwt(client: httpx.Client, key: BulkKey) -> str:
    answer: dict[str, Any] = client.post(
        "/token", data={"grant_type": "client_credentials"}, auth=(key.key_id, key.api_key)
    ).json()
    return str(answer["access_token"])
