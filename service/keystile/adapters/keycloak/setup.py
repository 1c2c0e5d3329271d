"""Setting a realm up for Keystile: may be run again at any time, and says what it changed."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from keycloak import KeycloakAdmin, KeycloakConnectionError, KeycloakError, KeycloakOpenIDConnection

from keystile.adapters.keycloak import wanted as want
from keystile.adapters.keycloak.api_access import ensure_api_scope, ensure_marks
from keystile.adapters.keycloak.attributes import CANARY, LOOKUPS, OURS, attributes_of, padded, put_body
from keystile.adapters.keycloak.clients import ensure_api_client, ensure_service_client, service_account
from keystile.adapters.keycloak.events import USER_EVENTS, events_are_kept
from keystile.adapters.keycloak.failures import or_none, own_words
from keystile.adapters.keycloak.grant_setup import ensure_grant
from keystile.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from keystile.adapters.keycloak.access import AdminAccess
    from keystile.adapters.keycloak.wanted import WantedRealm

_TIMEOUT = 15  # seconds; set-up is patient
_EXPIRATION = "adminEventsExpiration"


async def setup(admin: AdminAccess, wanted: WantedRealm) -> list[str]:
    """Make the realm as *wanted* and return what was changed, one line each; raises `ConfigurationError`."""
    async with open_admin(admin, wanted.realm) as keycloak:
        lines = await _ensure_realm(keycloak, wanted)
        lines += await _ensure_profile(keycloak, older_keys=wanted.older_keys)
        lines += await ensure_service_client(keycloak, wanted.reader, want.READER_ROLES, full_scope=True)
        lines += await ensure_service_client(keycloak, wanted.writer, want.WRITER_ROLES, full_scope=True)
        # Full scope would put the owner's right to manage the account into every token made for a key.
        lines += await ensure_service_client(keycloak, wanted.tokens, want.TOKENS_ROLES, full_scope=False)
        if wanted.grant is not None:
            lines += await ensure_grant(keycloak, wanted.tokens.id, wanted.grant)
        lines += await ensure_api_client(keycloak, want.API_CLIENT, want.API_ROLES)
        lines += await ensure_api_scope(keycloak, wanted.api_clients)
        lines += await ensure_marks(keycloak, wanted.marked, wanted.reader.id)
        lines += await _ensure_events(keycloak, wanted.realm)
        lines += await _ensure_canary(keycloak, wanted.writer.id)
        return lines


@asynccontextmanager
async def open_admin(access: AdminAccess, realm: str) -> AsyncIterator[KeycloakAdmin]:
    """Open the admin API of *realm*; failures leave as `ConfigurationError`."""
    connection = KeycloakOpenIDConnection(
        server_url=access.url.rstrip("/") + "/",
        username=access.user,
        password=access.password,
        realm_name=realm,
        user_realm_name="master",
        verify=access.verify,
        timeout=_TIMEOUT,
    )
    try:
        yield KeycloakAdmin(connection=connection)
    except KeycloakConnectionError as error:
        raise ConfigurationError(f"Keycloak at {access.url} does not answer") from error
    except KeycloakError as error:
        answer = f"{error.response_code}, {own_words(error)}"
        raise ConfigurationError(f"Keycloak at {access.url} refuses: {answer}") from error
    finally:
        await connection.aclose()
        await connection.keycloak_openid.connection.aclose()


async def _ensure_realm(keycloak: KeycloakAdmin, wanted: WantedRealm) -> list[str]:
    if await or_none(keycloak.a_get_realm(wanted.realm)) is not None:
        return []
    if not wanted.create_realm:
        raise ConfigurationError(f"Keycloak has no realm {wanted.realm!r}")
    await keycloak.a_create_realm({"realm": wanted.realm, "enabled": True})
    return [f"created realm {wanted.realm}"]


async def _ensure_profile(keycloak: KeycloakAdmin, *, older_keys: bool) -> list[str]:
    profile = await keycloak.a_get_realm_users_profile()
    changed, lines = mended_profile(profile, older_keys=older_keys)
    if changed != profile:
        await keycloak.a_update_realm_users_profile(changed)
    return lines


def mended_profile(profile: dict[str, Any], *, older_keys: bool) -> tuple[dict[str, Any], list[str]]:
    """Return the user profile with our attributes declared, everything else as it was, and what is to be said."""
    changed, lines = profile, []
    for name in OURS:
        if not want.is_declared(changed, name):
            changed = want.declared(changed, name)
            lines.append(f"declared attribute {name} (admins only)")
    if changed.get(want.POLICY) == want.OPEN_POLICY:
        lines.append(
            "WARNING, not changed: the user profile's unmanaged attributes are ENABLED, so users can write any"
            " undeclared attribute of their own, such as the expiry of their older keys"
        )
    elif older_keys and want.POLICY not in changed:
        changed = changed | {want.POLICY: want.OLDER_POLICY}
        lines.append(f"set unmanaged attributes to {want.OLDER_POLICY}, to see what stands beside older keys")
    return changed, lines


async def _ensure_events(keycloak: KeycloakAdmin, realm: str) -> list[str]:
    lines = []
    settings = await keycloak.a_get_realm(realm)
    if (
        not settings.get("adminEventsEnabled")
        or settings.get("adminEventsDetailsEnabled")
        or not events_are_kept(settings)
    ):
        await keycloak.a_update_realm(realm, _events_settings(settings))
        lines.append("switched on admin events without details, and the user events Keystile follows")
    attributes = settings.get("attributes", {})
    if not attributes.get(_EXPIRATION):
        # The whole map: Keycloak drops what is not sent.
        await keycloak.a_update_realm(realm, {"attributes": attributes | {_EXPIRATION: str(want.ADMIN_EVENTS_TTL)}})
        lines.append("set admin events to expire after three days")
    return lines


def _events_settings(settings: dict[str, Any]) -> dict[str, Any]:
    # Details would keep key hashes among the events.
    wanted = {"adminEventsEnabled": True, "adminEventsDetailsEnabled": False, "eventsEnabled": True}
    kept = set(settings.get("enabledEventTypes") or ())
    if settings.get("eventsEnabled") and not kept:  # none named: all are kept already
        return wanted
    return wanted | {"enabledEventTypes": sorted(kept | set(USER_EVENTS))}


async def _ensure_canary(keycloak: KeycloakAdmin, writer_id: str) -> list[str]:
    user = await service_account(keycloak, writer_id)
    attributes, value = attributes_of(user), padded(CANARY) or ""
    if value in attributes.get(LOOKUPS, ()):
        return []
    attributes[LOOKUPS] = [*attributes.get(LOOKUPS, ()), value]
    await keycloak.a_update_user(user["id"], put_body(user, attributes))
    return [f"put the canary on {user['username']}"]
