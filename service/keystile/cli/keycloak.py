"""`keystile keycloak setup`: what a realm needs before Keystile can work in it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from keystile.adapters.keycloak.access import AdminAccess, Credentials
from keystile.adapters.keycloak.setup import setup as set_up
from keystile.adapters.keycloak.wanted import WantedGrant, WantedRealm
from keystile.adapters.signing.assertions import make_assertion_key, public_pem
from keystile.errors import ConfigurationError
from keystile.settings import Store

if TYPE_CHECKING:
    from pydantic import SecretStr

    from keystile.settings import Settings


def set_up_realm(settings: Settings, *, create_realm: bool) -> list[str]:
    """Make the realm as the settings want it; return what was changed, a line each."""
    wanted, told = wanted_realm(settings, create_realm=create_realm)
    return told + asyncio.run(set_up(_admin(settings), wanted))


def wanted_realm(settings: Settings, *, create_realm: bool) -> tuple[WantedRealm, list[str]]:
    """Return what the realm shall be, and what is to be said of what it cannot be."""
    grant, told = _grant(settings)
    wanted = WantedRealm(
        realm=settings.keycloak_realm,
        reader=_client("READER", settings.keycloak_reader_id, settings.keycloak_reader_secret),
        writer=_client("WRITER", settings.keycloak_writer_id, settings.keycloak_writer_secret),
        tokens=_client("TOKENS", settings.keycloak_tokens_id, settings.keycloak_tokens_secret),
        create_realm=create_realm,
        older_keys=settings.older_keys,
        api_clients=tuple(dict.fromkeys((*settings.api_clients, *settings.introspecting))),
        marked=settings.marked_roles,
        grant=grant,
    )
    return wanted, told


def _grant(settings: Settings) -> tuple[WantedGrant | None, list[str]]:
    """Return how the realm is to be asked for tokens, and what is to be said of the key for that.

    The key is made if there is none: whoever signs now, `KEYSTILE_ISSUER_KIND` is then free to be changed. One who sets
    up from elsewhere, without the settings or the data folder of the servers, may have to leave that out.
    """
    if settings.store is not Store.KEYCLOAK:
        return None, []
    try:
        key = make_assertion_key(settings.assertion_dir)
    except OSError as error:
        if settings.realm_signs:
            raise ConfigurationError(f"the assertion key cannot be made: {error.filename}: {error.strerror}") from error
        return None, [f"WARNING, not changed: no assertion key can be made in {settings.assertion_dir}"]
    return WantedGrant(
        issuer=settings.assertion_issuer,
        public_key=public_pem(key),
        key_id=key.kid,
        token_ttl=int(settings.token_ttl.total_seconds()),
        audiences=settings.mapped_audiences,
        scopes=settings.realm_scopes,
    ), []


def _client(role: str, client_id: str, secret: SecretStr | None) -> Credentials:
    if secret is None:
        raise ConfigurationError(f"KEYSTILE_KEYCLOAK_{role}_SECRET is not set: setup gives that secret to {client_id}")
    return Credentials(id=client_id, secret=secret.get_secret_value())


def _admin(settings: Settings) -> AdminAccess:
    user, password = os.environ.get("KEYCLOAK_ADMIN_USER"), os.environ.get("KEYCLOAK_ADMIN_PASSWORD")
    if not user or not password:
        raise ConfigurationError("setup needs an administrator: set KEYCLOAK_ADMIN_USER and KEYCLOAK_ADMIN_PASSWORD")
    return AdminAccess(url=os.environ.get("KEYCLOAK_ADMIN_URL") or settings.keycloak_url, user=user, password=password)
