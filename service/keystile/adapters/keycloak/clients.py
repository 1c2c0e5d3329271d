"""The clients Keystile needs in a realm: made if absent, mended if not as they must be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keystile.adapters.keycloak.failures import or_none
from keystile.adapters.keycloak.wanted import MANAGEMENT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keycloak import KeycloakAdmin

    from keystile.adapters.keycloak.access import Credentials

_NO_LOGIN = {
    "enabled": True,
    "protocol": "openid-connect",
    "publicClient": False,
    "standardFlowEnabled": False,
    "implicitFlowEnabled": False,
    "directAccessGrantsEnabled": False,
}


async def ensure_service_client(
    keycloak: KeycloakAdmin, client: Credentials, roles: frozenset[str], *, full_scope: bool
) -> list[str]:
    """Make *client* a confidential one with a service account that has at least these *roles*."""
    lines = await _ensure_client(
        keycloak,
        client.id,
        _NO_LOGIN
        | {
            "serviceAccountsEnabled": True,
            "fullScopeAllowed": full_scope,
            "clientAuthenticatorType": "client-secret",
            "secret": client.secret,
        },
    )
    return lines + await _ensure_roles(keycloak, client.id, roles)


async def ensure_api_client(keycloak: KeycloakAdmin, name: str, roles: Mapping[str, str]) -> list[str]:
    """Make the client whose *roles* (name to description) say who may manage keys; nobody signs in by it."""
    lines = await _ensure_client(keycloak, name, _NO_LOGIN | {"serviceAccountsEnabled": False})
    client_uuid = await _uuid(keycloak, name)
    for role, description in roles.items():
        if await or_none(keycloak.a_get_client_role(client_uuid, role)) is None:
            await keycloak.a_create_client_role(client_uuid, {"name": role, "description": description})
            lines.append(f"created role {role} of client {name}")
    return lines


async def service_account(keycloak: KeycloakAdmin, client_id: str) -> dict[str, Any]:
    """Return the user that is the service account of that client."""
    account = await keycloak.a_get_client_service_account_user(await _uuid(keycloak, client_id))
    return await keycloak.a_get_user(account["id"])


async def _ensure_client(keycloak: KeycloakAdmin, name: str, wanted: dict[str, Any]) -> list[str]:
    client_uuid = await keycloak.a_get_client_id(name)
    if client_uuid is None:
        await keycloak.a_create_client({"clientId": name} | wanted)
        return [f"created client {name}"]
    client = await keycloak.a_get_client(client_uuid)
    wrong = sorted(field for field, value in wanted.items() if client.get(field) != value)
    if not wrong:
        return []
    await keycloak.a_update_client(client_uuid, client | wanted)
    return [f"mended client {name}: {', '.join(wrong)}"]


async def _ensure_roles(keycloak: KeycloakAdmin, name: str, roles: frozenset[str]) -> list[str]:
    account = await service_account(keycloak, name)
    management = await _uuid(keycloak, MANAGEMENT)
    held = {role["name"] for role in await keycloak.a_get_client_roles_of_user(account["id"], management)}
    missing = sorted(roles - held)
    if not missing:
        return []
    found = [await keycloak.a_get_client_role(management, role) for role in missing]
    await keycloak.a_assign_client_role(account["id"], management, found)
    return [f"gave {name} the roles {', '.join(missing)}"]


async def _uuid(keycloak: KeycloakAdmin, name: str) -> str:
    return str(await keycloak.a_get_client_id(name))
