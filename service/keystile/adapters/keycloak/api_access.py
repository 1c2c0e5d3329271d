"""What makes a realm's tokens good for the management API, and its roles visible: an audience, and marks of roles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keystile.adapters.keycloak import wanted as want
from keystile.adapters.keycloak.clients import service_account
from keystile.adapters.keycloak.failures import or_none

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keycloak import KeycloakAdmin

_WHAT_A_MARK_IS = "Shows Keystile who holds the client role of that name, and comes with it: give that one, never this."
_MAPPER = {
    "name": "audience keystile",
    "protocol": "openid-connect",
    "protocolMapper": "oidc-audience-mapper",
    "config": {
        "included.client.audience": want.API_CLIENT,
        "access.token.claim": "true",
        "introspection.token.claim": "true",
        "id.token.claim": "false",
    },
}
_SCOPE = {
    "name": want.API_SCOPE,
    "description": "Access tokens are for Keystile's management API too.",
    "protocol": "openid-connect",
    "attributes": {"include.in.token.scope": "false", "display.on.consent.screen": "false"},
}


async def ensure_api_scope(keycloak: KeycloakAdmin, clients: Iterable[str]) -> list[str]:
    """Make the client scope that puts `keystile` into `aud`, and give it to those *clients*, as a default."""
    lines = []
    scope = await keycloak.a_get_client_scope_by_name(want.API_SCOPE)
    if scope is None:
        await keycloak.a_create_client_scope(_SCOPE)
        scope = await keycloak.a_get_client_scope_by_name(want.API_SCOPE) or {}
        lines.append(f"created client scope {want.API_SCOPE}")
    mapper = next((each for each in scope.get("protocolMappers", ()) if each["name"] == _MAPPER["name"]), None)
    if mapper is None:
        await keycloak.a_add_mapper_to_client_scope(scope["id"], _MAPPER)
        lines.append(f"made client scope {want.API_SCOPE} put {want.API_CLIENT} into aud")
    for client in clients:
        lines += await _give(keycloak, client, scope["id"])
    return lines


async def ensure_marks(keycloak: KeycloakAdmin, marked: Iterable[str], reader_id: str) -> list[str]:
    """Make every client role that scopes depend on bring a realm role along: see `wanted.marks`."""
    lines = []
    for (client, role), mark in want.marks(marked).items():
        uuid = await keycloak.a_get_client_id(client)
        if uuid is None or await or_none(keycloak.a_get_client_role(uuid, role)) is None:
            lines.append(f"WARNING, not changed: there is no role {role} of a client {client}, and a scope needs it")
        else:
            lines += await _ensure_mark(keycloak, uuid, role, mark)
    return lines + await _ensure_sight(keycloak, reader_id)


async def _give(keycloak: KeycloakAdmin, client: str, scope_id: str) -> list[str]:
    uuid = await keycloak.a_get_client_id(client)
    if uuid is None:
        return [f"WARNING, not changed: there is no client {client}: make it, then run this again"]
    if any(each["id"] == scope_id for each in await keycloak.a_get_client_default_client_scopes(uuid)):
        return []
    await keycloak.a_add_client_default_client_scope(uuid, scope_id, {})
    return [f"gave client {client} the client scope {want.API_SCOPE}"]


async def _ensure_sight(keycloak: KeycloakAdmin, reader_id: str) -> list[str]:
    """Give the reader the role that tells it, in its own token, that roles are marked here."""
    account = await service_account(keycloak, reader_id)
    role = await _realm_role(keycloak, want.MARKED)
    if any(each["id"] == role["id"] for each in await keycloak.a_get_realm_roles_of_user(account["id"])):
        return []
    await keycloak.a_assign_realm_roles(account["id"], [role])
    return [f"told {reader_id} that roles are marked"]


async def _ensure_mark(keycloak: KeycloakAdmin, client_uuid: str, role: str, mark: str) -> list[str]:
    realm_role = await _realm_role(keycloak, mark)
    held = await keycloak.a_get_composite_client_roles_of_role(client_uuid, role)
    if any(each["id"] == realm_role["id"] for each in held):
        return []
    await keycloak.a_add_composite_client_roles_to_role(client_uuid, role, [realm_role])
    return [f"marked client role {mark} by a realm role of that name"]


async def _realm_role(keycloak: KeycloakAdmin, name: str) -> dict[str, Any]:
    found = await _find_realm_role(keycloak, name)
    if found is None:
        await keycloak.a_create_realm_role({"name": name, "description": _WHAT_A_MARK_IS})
        found = await _find_realm_role(keycloak, name)
    return found or {}


async def _find_realm_role(keycloak: KeycloakAdmin, name: str) -> dict[str, Any] | None:
    # Searched for, not named in a path: a client's name may be a URL.
    known = await keycloak.a_get_realm_roles(search_text=name)
    return next((role for role in known if role["name"] == name), None)
