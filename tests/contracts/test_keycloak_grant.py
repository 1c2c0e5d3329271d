"""Tokens that a real Keycloak signs for keys: who could abuse them, and what is wrong with a realm that was spoilt."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest

from contracts.granting import DEFAULT, ISSUER, MCP, TTL, UNMAPPED, GrantingRealm, a_grant, make_granting_realm
from contracts.keycloak_fixtures import Realm
from keystile.adapters.keycloak.grant_diagnosis import diagnose_grant
from keystile.adapters.keycloak.issuer import GRANT_TYPE
from keystile.adapters.keycloak.links import KeycloakLinks
from keystile.adapters.signing.assertions import Assertions, make_assertion_key
from keystile.adapters.signing.jws import JwsSigner
from keystile.errors import CannotTellError, KeyRefusedError, OwnerUnknownError, Reason
from stack.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from keystile.adapters.keycloak.access import Credentials
    from keystile.adapters.keycloak.issuer import KeycloakTokenIssuer
    from stack import KeycloakServer


@pytest.fixture(scope="module")
def granting(keycloak_server: KeycloakServer, tmp_path_factory: pytest.TempPathFactory) -> GrantingRealm:
    return make_granting_realm(keycloak_server, tmp_path_factory.mktemp("assertions"))


@pytest.fixture
def spoilt(keycloak_server: KeycloakServer, tmp_path: Path) -> GrantingRealm:
    """Return a realm of this test's own."""
    return make_granting_realm(keycloak_server, tmp_path)


@pytest.fixture
async def signer(granting: GrantingRealm) -> AsyncIterator[KeycloakTokenIssuer]:
    granting.alerts.clear()
    async with granting.signer() as opened:
        yield opened


def administrator(realm: GrantingRealm) -> str:
    """Return a user that holds every right there is in the realm."""
    user = realm.add_user()
    for client, role in (("realm-management", "realm-admin"), ("account", "manage-account"), ("keystile", "key-admin")):
        uuid = str(realm.admin.get_client_id(client))
        realm.admin.assign_client_role(user, uuid, [realm.admin.get_client_role(uuid, role)])
    return user


def assertion(realm: GrantingRealm, **changes: object) -> str:
    """Return an assertion signed by the right key, with some claims changed."""
    assert realm.key is not None
    now = int(time.time())
    claims: dict[str, Any] = {"iss": f"{ISSUER}/assertions", "aud": realm.issuer, "iat": now, "exp": now + 30}
    claims |= {"jti": secrets.token_hex(8), **changes}
    return JwsSigner(realm.key, {"kid": realm.key.kid, "typ": "JWT"}).sign(claims)


def post(realm: GrantingRealm, presented: str, client: Credentials | None = None) -> httpx.Response:
    """Ask the realm for a token as somebody who holds a client's secret, and an assertion."""
    client = client or realm.wanted.tokens
    form = {"grant_type": GRANT_TYPE, "assertion": presented, "client_id": client.id, "client_secret": client.secret}
    return httpx.post(f"{realm.issuer}/protocol/openid-connect/token", data=form)


async def linked(realm: GrantingRealm, signer: KeycloakTokenIssuer) -> str:
    """Return a user for whom a token was signed once."""
    user = realm.add_user()
    await signer.sign(user, DEFAULT, ())
    return user


async def test_token_opens_neither_the_account_nor_the_admin_api(
    granting: GrantingRealm, signer: KeycloakTokenIssuer
) -> None:
    """A key of a realm administrator reads no account, no user, no userinfo: it is for what was asked, and no more."""
    user = administrator(granting)
    token = (await signer.sign(user, MCP, ("read", "write"))).text
    realm = granting.wanted.realm
    assert granting.ask(f"/realms/{realm}/account", token).status_code in (401, 403)
    assert granting.ask(f"/realms/{realm}/protocol/openid-connect/userinfo", token).status_code in (401, 403)
    for path in ("/users", f"/users/{user}", "/clients", ""):
        assert granting.ask(f"/admin/realms/{realm}{path}", token).status_code in (401, 403)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert not claims.keys() & {"realm_access", "resource_access", "email", "name", "preferred_username", "groups"}


async def test_service_that_trusts_the_realm_alone_takes_it(
    granting: GrantingRealm, signer: KeycloakTokenIssuer
) -> None:
    """With nothing but the realm's key set any library verifies the token; to introspection it is active."""
    user = granting.add_user()
    token = (await signer.sign(user, MCP, ("read",))).text
    key = granting.certs()[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, ["RS256"], audience=MCP, issuer=granting.issuer)
    assert (claims["sub"], claims["scope"]) == (user, "read")
    told = granting.introspect(token)
    assert (told["active"], told["aud"], told["scope"], told["sub"]) == (True, MCP, "read", user)


async def test_lost_link_is_made_again(granting: GrantingRealm, signer: KeycloakTokenIssuer) -> None:
    """An owner whose link is gone, or was never made, is linked by the first exchange that misses it."""
    user = await linked(granting, signer)
    granting.admin.delete_user_social_login(user, "keystile")
    assert (await signer.sign(user, DEFAULT, ())).text
    assert [link["userId"] for link in granting.admin.get_user_social_logins(user)] == [user]


async def test_link_of_another_value_is_put_right(granting: GrantingRealm, signer: KeycloakTokenIssuer) -> None:
    """An owner that was linked as nobody is linked as itself."""
    user = granting.add_user()
    granting.admin.add_user_social_login(user, "keystile", "nobody", "nobody")
    assert (await signer.sign(user, DEFAULT, ())).text


async def test_link_to_somebody_else_gives_nothing(granting: GrantingRealm, signer: KeycloakTokenIssuer) -> None:
    """A key never gives a token of somebody else than its owner, even if an administrator linked them so."""
    victim, user = granting.add_user(), granting.add_user()
    granting.admin.add_user_social_login(victim, "keystile", user, user)
    with pytest.raises(CannotTellError):
        await signer.sign(user, DEFAULT, ())
    assert granting.alerts == ["the realm's tokens for keys are not as asked for: sub: run 'keystile keycloak setup'"]


async def test_deleted_owner_gets_nothing(granting: GrantingRealm, signer: KeycloakTokenIssuer) -> None:
    """Who is gone cannot be linked, and is refused like somebody disabled."""
    user = await linked(granting, signer)
    granting.admin.delete_user(user)
    with pytest.raises(KeyRefusedError) as refused:
        await signer.sign(user, DEFAULT, ())
    assert refused.value.reason is Reason.OWNER_DISABLED


async def test_issue_links_once(granting: GrantingRealm) -> None:
    """The link made when a key is issued: again changes nothing, and an owner that is not there is told."""
    writer = granting.client(granting.wanted.writer)
    links, user = KeycloakLinks(writer), granting.add_user()
    for _ in range(2):
        await links.ensure(user)
    assert [link["userId"] for link in granting.admin.get_user_social_logins(user)] == [user]
    with pytest.raises(OwnerUnknownError):
        await links.ensure("5f0c4b7e-0000-4000-8000-000000000000")
    await writer.close()


async def test_assertion_is_good_for_one_request(granting: GrantingRealm, signer: KeycloakTokenIssuer) -> None:
    """An assertion that was seen on the way buys nothing: it was used, and one lives for a minute at most."""
    user = await linked(granting, signer)
    now, used = int(time.time()), assertion(granting, sub=user)
    assert post(granting, used).status_code == 200
    for presented in (
        used,
        assertion(granting, sub=user, exp=now - 30, iat=now - 60),
        assertion(granting, sub=user, exp=now + 30, iat=now - 120),
        assertion(granting, sub=user, jti=None),
        assertion(granting, sub=user, aud=MCP),
        assertion(granting, sub=user, iss=ISSUER),
        assertion(granting, sub="nobody"),
    ):
        assert post(granting, presented).status_code == 400, jwt.decode(presented, options={"verify_signature": False})


async def test_only_the_client_for_it_may_use_assertions(granting: GrantingRealm, signer: KeycloakTokenIssuer) -> None:
    """Our other clients, which hold roles of the realm, get no token of a user by an assertion."""
    user = await linked(granting, signer)
    for client in (granting.wanted.reader, granting.wanted.writer):
        assert post(granting, assertion(granting, sub=user), client).status_code == 400


async def test_assertion_by_another_key_is_refused(granting: GrantingRealm, tmp_path: Path) -> None:
    """Whoever holds the client's secret alone gets nothing; to us it is a fault that an operator mends: 503."""
    other = make_assertion_key(tmp_path)
    forged = Assertions(other, issuer=f"{ISSUER}/assertions", audience=granting.issuer, clock=time.time)
    granting.alerts.clear()
    async with granting.signer(assertion=forged.about) as signer:
        for _ in range(2):
            with pytest.raises(CannotTellError):
                await signer.sign(granting.add_user(), DEFAULT, ())
    assert len(granting.alerts) == 1
    assert "keystile keycloak setup" in granting.alerts[0]


async def test_full_scope_stops_everything(spoilt: GrantingRealm) -> None:
    """Keycloak's default puts the owner's account and roles into the token: then none is handed out."""
    user = administrator(spoilt)
    uuid = str(spoilt.admin.get_client_id(spoilt.wanted.tokens.id))
    roles = next(scope for scope in spoilt.admin.get_client_scopes() if scope["name"] == "roles")
    spoilt.admin.update_client(uuid, {"fullScopeAllowed": True})
    spoilt.admin.add_client_default_client_scope(uuid, roles["id"], {})
    async with spoilt.signer() as signer:
        with pytest.raises(CannotTellError):
            await signer.sign(user, MCP, ("read",))
        assert [alert.partition(": run")[0] for alert in spoilt.alerts] == [
            "the realm's tokens for keys are not as asked for: aud, roles"
        ]
        assert len(spoilt.set_up()) == 2
        assert (await signer.sign(user, MCP, ("read",))).text


async def test_set_up_mends_and_then_changes_nothing(spoilt: GrantingRealm) -> None:
    """A second set-up finds nothing to do; whatever of it was changed by hand is put back."""
    assert spoilt.set_up() == []
    admin, uuid = spoilt.admin, str(spoilt.admin.get_client_id(spoilt.wanted.tokens.id))
    provider = admin.get_idp("keystile")
    loose = {"jwtAuthorizationGrantAssertionReuseAllowed": "true", "publicKeySignatureVerifierKeyId": "another"}
    admin.update_idp("keystile", provider | {"config": provider["config"] | loose})
    scope = next(each for each in admin.get_client_scopes() if each["name"] == f"aud:{MCP}")
    (mapper,) = scope["protocolMappers"]
    widened = mapper["config"] | {"included.custom.audience": DEFAULT}
    admin.update_mapper_in_client_scope(scope["id"], mapper["id"], mapper | {"config": widened})
    admin.delete_client_optional_client_scope(uuid, scope["id"])
    offline = next(each for each in admin.get_client_scopes() if each["name"] == "offline_access")
    admin.add_client_optional_client_scope(uuid, offline["id"], {})
    lines = "\n".join(spoilt.set_up())
    for said in ("identity provider keystile", "offline_access", f"mended client scope aud:{MCP}", "gave client"):
        assert said in lines
    assert spoilt.set_up() == []
    async with spoilt.signer() as signer:
        assert (await signer.sign(spoilt.add_user(), MCP, ("read",))).text


async def test_doctor_says_what_the_realm_would_not(granting: GrantingRealm, signer: KeycloakTokenIssuer) -> None:
    """What set-up made is fine; an audience or scope it was not told of, or another life, is named with its remedy."""
    writer = granting.client(granting.wanted.writer)
    good = await diagnose_grant(signer, writer, (DEFAULT, MCP), ("read", "write"), TTL)
    assert [finding.ok for finding in good] == [True, True]
    for audiences, scopes, ttl, why in (
        ((UNMAPPED,), (), TTL, "audience denied"),
        ((MCP,), ("launch",), TTL, "scope denied"),
        ((MCP,), (), 60, "they live for 300 s, and KEYSTILE_TOKEN_TTL says 60 s"),
    ):
        (finding,) = await diagnose_grant(signer, writer, audiences, scopes, ttl)
        assert (finding.ok, why in finding.what, "setup" in finding.fix) == (False, True, True)
    await writer.close()


def test_identity_provider_of_somebody_else_is_left_alone(own_realm: Realm, tmp_path: Path) -> None:
    """A realm that has a provider of that name already keeps it, and hears why nothing can be signed."""
    config = {
        "clientId": "x",
        "clientSecret": "y",
        "authorizationUrl": "https://a.example.com",
        "tokenUrl": "https://b",
    }
    own_realm.admin.create_idp({"alias": "keystile", "providerId": "oidc", "enabled": True, "config": config})
    lines = Realm(own_realm.server, replace(own_realm.wanted, grant=a_grant(make_assertion_key(tmp_path)))).set_up()
    assert [line for line in lines if line.startswith("WARNING")] == [
        "WARNING, not changed: the identity provider keystile is somebody else's: give it another alias"
    ]
    assert own_realm.admin.get_idp("keystile")["providerId"] == "oidc"


async def test_keycloak_out_of_reach_is_no_answer(granting: GrantingRealm) -> None:
    """Nobody there, or something that is no Keycloak: nobody can tell, soon, and no key is refused for it."""
    async with granting.signer(url=f"http://127.0.0.1:{free_port()}") as signer:
        for _ in range(4):
            with pytest.raises(CannotTellError):
                await signer.sign("somebody", DEFAULT, ())
            with pytest.raises(CannotTellError):
                await signer.revoke("a token")
    async with granting.signer(url=f"{granting.server.url}/realms") as signer:
        with pytest.raises(CannotTellError):
            await signer.sign("somebody", DEFAULT, ())


async def test_issuer_shows_no_key_and_knows_no_token(granting: GrantingRealm, signer: KeycloakTokenIssuer) -> None:
    """The assertion key is in no key set of ours, and a token of the realm is none of our JWTs."""
    user = granting.add_user()
    token = await signer.mint({"sub": user, "aud": MCP, "scope": "read"})
    assert signer.issuer == ISSUER
    assert signer.jwks() == {"keys": []}
    assert signer.verify(token) is None
    assert signer.maker(MCP) != signer.maker(DEFAULT)
