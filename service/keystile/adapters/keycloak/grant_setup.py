"""What a realm needs to sign tokens for keys: an identity provider for assertions, and client scopes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keystile.adapters.keycloak.failures import or_none
from keystile.adapters.keycloak.wanted import IDENTITY_PROVIDER
from keystile.realm_scopes import BUILT_IN, audience_scope

if TYPE_CHECKING:
    from keycloak import KeycloakAdmin

    from keystile.adapters.keycloak.wanted import WantedGrant

_KEPT = frozenset({"basic", "service_account"})  # the first gives `sub`; the second nothing where a user is
_GRANT = "oauth2.jwt.authorization.grant"
_NOT_IN_SCOPE = {"include.in.token.scope": "false", "display.on.consent.screen": "false"}
_IN_SCOPE = {"include.in.token.scope": "true", "display.on.consent.screen": "false"}


async def ensure_grant(keycloak: KeycloakAdmin, client: str, grant: WantedGrant) -> list[str]:
    """Let *client*, and nobody else, ask for tokens by assertions; return what was changed."""
    uuid = str(await keycloak.a_get_client_id(client))
    lines = await _ensure_provider(keycloak, grant)
    lines += await _ensure_attributes(keycloak, uuid, client, grant)
    lines += await _take_built_in(keycloak, uuid, client)
    return lines + await _give_scopes(keycloak, uuid, client, grant)


async def _ensure_provider(keycloak: KeycloakAdmin, grant: WantedGrant) -> list[str]:
    wanted = {
        "alias": IDENTITY_PROVIDER,
        "displayName": "Keystile",
        "providerId": "jwt-authorization-grant",
        "enabled": True,
        "hideOnLogin": True,
    }
    config = {
        "issuer": grant.issuer,
        "useJwksUrl": "false",
        "publicKeySignatureVerifier": grant.public_key,
        "publicKeySignatureVerifierKeyId": grant.key_id,
        "jwtAuthorizationGrantEnabled": "true",
        "jwtAuthorizationGrantAssertionReuseAllowed": "false",
        "jwtAuthorizationGrantMaxAllowedAssertionExpiration": "60",
        "jwtAuthorizationGrantAssertionSignatureAlg": "ES256",
        "jwtAuthorizationGrantAllowedClockSkew": "5",
    }
    found: dict[str, Any] | None = await or_none(keycloak.a_get_idp(IDENTITY_PROVIDER))
    if found is None:
        await keycloak.a_create_idp(wanted | {"config": config})
        return [f"created identity provider {IDENTITY_PROVIDER}, for assertions of {grant.issuer}"]
    if found.get("providerId") != wanted["providerId"]:
        return [
            f"WARNING, not changed: the identity provider {IDENTITY_PROVIDER} is somebody else's: give it another alias"
        ]
    held = found.get("config", {})
    wrong = [name for name, value in wanted.items() if found.get(name) != value]
    wrong += [name for name, value in config.items() if held.get(name) != value]
    if not wrong:
        return []
    await keycloak.a_update_idp(IDENTITY_PROVIDER, found | wanted | {"config": held | config})
    return [f"mended identity provider {IDENTITY_PROVIDER}: {', '.join(sorted(wrong))}"]


async def _ensure_attributes(keycloak: KeycloakAdmin, uuid: str, client: str, grant: WantedGrant) -> list[str]:
    wanted = {
        f"{_GRANT}.enabled": "true",
        f"{_GRANT}.idp": IDENTITY_PROVIDER,
        "access.token.lifespan": str(grant.token_ttl),
    }
    found = await keycloak.a_get_client(uuid)
    held = found.get("attributes", {})
    wrong = sorted(name for name, value in wanted.items() if held.get(name) != value)
    if not wrong:
        return []
    await keycloak.a_update_client(uuid, found | {"attributes": held | wanted})
    return [f"set {', '.join(wrong)} of client {client}"]


async def _take_built_in(keycloak: KeycloakAdmin, uuid: str, client: str) -> list[str]:
    """Take from the client what Keycloak gives to every new one: roles, names and e-mail, offline access."""
    taken = []
    for scope in await keycloak.a_get_client_default_client_scopes(uuid):
        if scope["name"] in BUILT_IN - _KEPT:
            await keycloak.a_delete_client_default_client_scope(uuid, scope["id"])
            taken.append(scope["name"])
    for scope in await keycloak.a_get_client_optional_client_scopes(uuid):
        if scope["name"] in BUILT_IN:
            await keycloak.a_delete_client_optional_client_scope(uuid, scope["id"])
            taken.append(scope["name"])
    return [f"took the client scopes {', '.join(sorted(taken))} from client {client}"] if taken else []


async def _give_scopes(keycloak: KeycloakAdmin, uuid: str, client: str, grant: WantedGrant) -> list[str]:
    known = {scope["name"]: scope for scope in await keycloak.a_get_client_scopes()}
    held = {scope["name"] for scope in await keycloak.a_get_client_optional_client_scopes(uuid)}
    lines = []
    for wanted in (*map(_audience, grant.audiences), *map(_scope, grant.scopes)):
        name = wanted["name"]
        if name not in known:
            scope_id = await keycloak.a_create_client_scope(wanted)
            lines.append(f"created client scope {name}")
        else:
            scope_id = known[name]["id"]
            lines += await _mend_mapper(keycloak, known[name], wanted)
        if name not in held:
            await keycloak.a_add_client_optional_client_scope(uuid, scope_id, {})
            lines.append(f"gave client {client} the client scope {name}")
    return lines


async def _mend_mapper(keycloak: KeycloakAdmin, found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Put right what an audience's client scope maps; one that stands for a key's scope is the realm's own."""
    lines = []
    for mapper in wanted.get("protocolMappers", ()):
        held = {each["name"]: each for each in found.get("protocolMappers", ())}.get(mapper["name"])
        if held is None:
            await keycloak.a_add_mapper_to_client_scope(found["id"], mapper)
        elif any(held.get("config", {}).get(name) != value for name, value in mapper["config"].items()):
            await keycloak.a_update_mapper_in_client_scope(found["id"], held["id"], held | mapper)
        else:
            continue
        lines.append(f"mended client scope {found['name']}")
    return lines


def _audience(audience: str) -> dict[str, Any]:
    mapper = {
        "name": "audience",
        "protocol": "openid-connect",
        "protocolMapper": "oidc-audience-mapper",
        "config": {
            "included.custom.audience": audience,
            "access.token.claim": "true",
            "introspection.token.claim": "true",
            "id.token.claim": "false",
        },
    }
    return {
        "name": audience_scope(audience),
        "description": "Tokens for API keys are for this audience.",
        "protocol": "openid-connect",
        "attributes": _NOT_IN_SCOPE,
        "protocolMappers": [mapper],
    }


def _scope(scope: str) -> dict[str, Any]:
    return {
        "name": scope,
        "description": "A scope of API keys.",
        "protocol": "openid-connect",
        "attributes": _IN_SCOPE,
    }
