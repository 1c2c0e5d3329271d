"""`keystile keycloak setup`: what a realm needs before Keystile can work in it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from keystile.adapters.keycloak.access import AdminAccess, Credentials
from keystile.adapters.keycloak.setup import setup as set_up
from keystile.adapters.keycloak.wanted import WantedRealm
from keystile.errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from keystile.settings import Settings


def set_up_realm(settings: Settings, *, create_realm: bool) -> list[str]:
    """Make the realm as the settings want it; return what was changed, a line each."""
    wanted = WantedRealm(
        realm=settings.keycloak_realm,
        reader=_client("READER", settings.keycloak_reader_id, settings.keycloak_reader_secret),
        writer=_client("WRITER", settings.keycloak_writer_id, settings.keycloak_writer_secret),
        tokens=_client("TOKENS", settings.keycloak_tokens_id, settings.keycloak_tokens_secret),
        create_realm=create_realm,
        older_keys=settings.older_keys,
        api_clients=tuple(dict.fromkeys((*settings.api_clients, *settings.introspecting))),
        marked=settings.marked_roles,
    )
    return asyncio.run(set_up(_admin(settings), wanted))


def _client(role: str, client_id: str, secret: SecretStr | None) -> Credentials:
    if secret is None:
        raise ConfigurationError(f"KEYSTILE_KEYCLOAK_{role}_SECRET is not set: setup gives that secret to {client_id}")
    return Credentials(id=client_id, secret=secret.get_secret_value())


def _admin(settings: Settings) -> AdminAccess:
    user, password = os.environ.get("KEYCLOAK_ADMIN_USER"), os.environ.get("KEYCLOAK_ADMIN_PASSWORD")
    if not user or not password:
        raise ConfigurationError("setup needs an administrator: set KEYCLOAK_ADMIN_USER and KEYCLOAK_ADMIN_PASSWORD")
    return AdminAccess(url=os.environ.get("KEYCLOAK_ADMIN_URL") or settings.keycloak_url, user=user, password=password)
