"""What an administrator does to the realm at its console that breaks Keystile."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keycloak import KeycloakAdmin

_KEY_PROVIDER = "org.keycloak.keys.KeyProvider"


def renew_keys(admin: KeycloakAdmin) -> None:
    """Give the realm new signing keys and take the old ones away: no token it gave is worth anything any more."""
    older = [key for key in admin.get_components({"type": _KEY_PROVIDER}) if key["providerId"] == "rsa-generated"]
    admin.create_component(
        {
            "name": "renewed",
            "providerId": "rsa-generated",
            "providerType": _KEY_PROVIDER,
            "config": {"priority": ["200"], "enabled": ["true"], "active": ["true"], "keySize": ["2048"]},
        }
    )
    for key in older:
        admin.delete_component(key["id"])


@contextmanager
def other_secret(admin: KeycloakAdmin, client: str) -> Iterator[None]:
    """Change a client's secret, and end the tokens it has; the old secret is right again afterwards."""
    client_id = _id_of(admin, client)
    was = admin.get_client_secrets(client_id)["value"]
    admin.update_client(client_id, {"secret": "another-secret-than-the-one-configured"})
    renew_keys(admin)
    try:
        yield
    finally:
        admin.update_client(client_id, {"secret": was})


@contextmanager
def without_role(admin: KeycloakAdmin, client: str, role: str) -> Iterator[None]:
    """Take a role of realm-management from a client, and end the tokens that still say it."""
    account = admin.get_client_service_account_user(_id_of(admin, client))["id"]
    management = _id_of(admin, "realm-management")
    roles = [admin.get_client_role(management, role)]
    admin.delete_client_roles_of_user(account, management, roles)
    renew_keys(admin)
    try:
        yield
    finally:
        admin.assign_client_role(account, management, roles)


def keep_events(admin: KeycloakAdmin, *, kept: bool) -> None:
    """Switch the realm's admin events on or off."""
    realm = admin.get_current_realm()
    assert realm is not None
    admin.update_realm(realm, {"adminEventsEnabled": kept})


def _id_of(admin: KeycloakAdmin, client: str) -> str:
    found = admin.get_client_id(client)
    assert found is not None, client
    return found
