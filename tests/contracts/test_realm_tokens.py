"""Access tokens that a real Keycloak makes for the management API, after nothing but Keystile's own set-up."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from keycloak import KeycloakOpenID

from contracts.keycloak_fixtures import Realm, make_realm
from keystile.adapters.keycloak.realm_tokens import REST, KeycloakRealmTokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stack import KeycloakServer

PASSWORD = "correct horse battery staple"
CONSOLE, UNSCOPED, STRANGER = "console", "unscoped", "stranger"
GATEWAY, GATEWAY_SECRET = "Gateway", "a gateway of the realm"


@pytest.fixture(scope="module")
def api_realm(keycloak_server: KeycloakServer) -> Realm:
    """Set a realm up in which people sign in by three clients, one of which set-up was told of."""
    bare = make_realm(keycloak_server)
    for client in (CONSOLE, UNSCOPED, STRANGER):
        bare.admin.create_client({"clientId": client, "publicClient": True, "directAccessGrantsEnabled": True})
    gateway = {"clientId": GATEWAY, "secret": GATEWAY_SECRET, "serviceAccountsEnabled": True}
    bare.admin.create_client({**gateway, "publicClient": False, "directAccessGrantsEnabled": True})
    realm = Realm(keycloak_server, replace(bare.wanted, api_clients=(CONSOLE, STRANGER, GATEWAY, "missing")))
    lines = realm.set_up()
    assert [line.startswith("WARNING") for line in lines if "missing" in line] == [True]
    assert [line for line in realm.set_up() if not line.startswith("WARNING")] == []
    return realm


@dataclass
class Sight:
    """What checks the realm's tokens, how often it asked for keys, and a clock to move."""

    tokens: KeycloakRealmTokens = field(init=False)
    fetched: int = 0
    now: float = 0.0


@pytest.fixture
async def sight(api_realm: Realm) -> AsyncIterator[Sight]:
    reader, seen = api_realm.client(api_realm.wanted.reader), Sight()

    async def certs() -> dict[str, Any]:
        seen.fetched += 1
        return await reader.certs()

    seen.tokens = KeycloakRealmTokens(
        certs, issuer=issuer_of(api_realm), clients=(CONSOLE, UNSCOPED), servers=(GATEWAY,), ticks=lambda: seen.now
    )
    yield seen
    await reader.close()


def issuer_of(realm: Realm) -> str:
    return f"{realm.server.url}/realms/{realm.wanted.realm}"


def sign_in(realm: Realm, user_id: str, client: str = CONSOLE) -> dict[str, str]:
    """Sign that user in by password; return the token response."""
    app = KeycloakOpenID(f"{realm.server.url}/", realm.wanted.realm, client)
    answer: dict[str, str] = app.token(realm.admin.get_user(user_id)["username"], PASSWORD, scope="openid")
    return answer


def add_user(realm: Realm) -> str:
    return realm.add_user(credentials=[{"type": "password", "value": PASSWORD, "temporary": False}])


def give(realm: Realm, user_id: str, role: str) -> None:
    client = str(realm.admin.get_client_id("keystile"))
    realm.admin.assign_client_role(user_id, client, [realm.admin.get_client_role(client, role)])


async def test_user_without_a_role_comes_in_as_itself(api_realm: Realm, sight: Sight) -> None:
    """Any user may sign in to manage keys of its own: the client scope alone puts keystile into the audience."""
    user = add_user(api_realm)
    found = await sight.tokens.verify(sign_in(api_realm, user)["access_token"])
    assert found is not None
    assert (found.id, found.roles, found.tenants) == (user, frozenset(), frozenset())
    assert found.username == api_realm.admin.get_user(user)["username"]


async def test_admin_roles_are_in_the_token(api_realm: Realm, sight: Sight) -> None:
    """The roles of the client keystile come along, by whatever way the user has them."""
    direct, by_group = add_user(api_realm), add_user(api_realm)
    give(api_realm, direct, "tenant-admin")
    group = str(api_realm.admin.create_group({"name": secrets.token_hex(4)}))
    client = str(api_realm.admin.get_client_id("keystile"))
    api_realm.admin.assign_group_client_roles(group, client, [api_realm.admin.get_client_role(client, "key-admin")])
    api_realm.admin.group_user_add(by_group, group)
    for user, roles in ((direct, {"tenant-admin"}), (by_group, {"key-admin"})):
        found = await sight.tokens.verify(sign_in(api_realm, user)["access_token"])
        assert found is not None
        assert found.roles == roles
    assert sight.fetched == 1


async def test_only_access_tokens_of_named_clients_with_the_scope(api_realm: Realm, sight: Sight) -> None:
    """Not an ID or refresh token, not a client nobody named, not one without the scope, not Keystile's own."""
    user = add_user(api_realm)
    answer = sign_in(api_realm, user)
    wanted = api_realm.wanted
    own = KeycloakOpenID(
        f"{api_realm.server.url}/", wanted.realm, wanted.tokens.id, client_secret_key=wanted.tokens.secret
    )
    for token in (
        answer["id_token"],
        answer["refresh_token"],
        sign_in(api_realm, user, STRANGER)["access_token"],
        sign_in(api_realm, user, UNSCOPED)["access_token"],
        own.token(grant_type="client_credentials")["access_token"],
        answer["access_token"][:-4] + "AAAA",
    ):
        assert await sight.tokens.verify(token) is None
    assert await sight.tokens.verify(answer["access_token"]) is not None


async def test_client_s_own_token_is_a_resource_servers(api_realm: Realm, sight: Sight) -> None:
    """What a client gets by client_credentials names it; a user's token that the same client got does not."""
    gateway = KeycloakOpenID(
        f"{api_realm.server.url}/", api_realm.wanted.realm, GATEWAY, client_secret_key=GATEWAY_SECRET
    )
    assert await sight.tokens.client(gateway.token(grant_type="client_credentials")["access_token"]) == GATEWAY
    user = api_realm.admin.get_user(add_user(api_realm))["username"]
    assert await sight.tokens.client(gateway.token(user, PASSWORD)["access_token"]) is None


async def test_token_of_another_realm_is_nothing(api_realm: Realm, own_realm: Realm, sight: Sight) -> None:
    """The same client and audience in a realm beside ours: other keys, another issuer."""
    own_realm.admin.create_client({"clientId": CONSOLE, "publicClient": True, "directAccessGrantsEnabled": True})
    other = Realm(own_realm.server, replace(own_realm.wanted, api_clients=(CONSOLE,)))
    other.set_up()
    assert issuer_of(other) != issuer_of(api_realm)
    assert await sight.tokens.verify(sign_in(other, add_user(other))["access_token"]) is None


async def test_new_key_of_the_realm_is_learnt(api_realm: Realm, sight: Sight) -> None:
    """After the realm got another signing key, its tokens are taken once we may ask again, and not before."""
    user = add_user(api_realm)
    assert await sight.tokens.verify(sign_in(api_realm, user)["access_token"])
    provider = {
        "name": "newer",
        "providerId": "ecdsa-generated",
        "providerType": "org.keycloak.keys.KeyProvider",
        "config": {"priority": ["200"], "active": ["true"], "enabled": ["true"], "ecdsaEllipticCurveKey": ["P-256"]},
    }
    api_realm.admin.create_component(provider)
    api_realm.admin.update_realm(api_realm.wanted.realm, {"defaultSignatureAlgorithm": "ES256"})
    newer = sign_in(api_realm, user)["access_token"]
    assert await sight.tokens.verify(newer) is None
    sight.now += REST
    assert await sight.tokens.verify(newer) is not None
    assert sight.fetched == 2
