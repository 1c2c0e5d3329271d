"""Keystile beside Keycloak's own way of giving a client a token."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from bench import wire
from bench.machine import BOTH, LOAD_CORE, SERVER_CORE, pin
from bench.wrk import drive, per_cpu_second

if TYPE_CHECKING:
    from bench.estate import Site
    from bench.plan import Plan
    from bench.results import Row

_CLIENT = "bench"
_WARM = 15  # seconds until Java has compiled what answers


def keycloak(plan: Plan) -> list[Row]:
    """Measure a known key at `/sts/verify`, and a client of Keycloak that asks for its token by client_credentials."""
    site = plan.estate.small
    server = site.world.keycloak
    known = [wire.verify(site.add_keys(1)[0].api_key)]
    grant = [_grant(site)]
    drive(site.server.port, known, 1).only(200)
    drive(server.port, grant, _WARM, *BOTH).only(200)
    pin(server, SERVER_CORE)
    try:
        beside = plan.beside(
            lambda: per_cpu_second(site.server, known, plan.seconds),
            lambda: per_cpu_second(server, grant, plan.seconds),
        )
    finally:
        pin(server, LOAD_CORE)
    against = "Keycloak `client_credentials`"
    return [beside.row("`/sts/verify`, known key", against, "answers per CPU second", at_least=50, unit="times")]


def _grant(site: Site) -> bytes:
    """Return the token request of a client that may do nothing else, made for this."""
    secret = secrets.token_urlsafe(24)
    site.world.admin.create_client(
        {
            "clientId": _CLIENT,
            "secret": secret,
            "publicClient": False,
            "serviceAccountsEnabled": True,
            "standardFlowEnabled": False,
            "fullScopeAllowed": False,
        }
    )
    fields = {"grant_type": "client_credentials", "client_id": _CLIENT, "client_secret": secret}
    return wire.form(f"/realms/{site.realm}/protocol/openid-connect/token", fields)
