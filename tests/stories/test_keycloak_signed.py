"""Tokens that the realm signs: a service that trusts nothing but its Keycloak, and keys that stay in our hands."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest
from keycloak import KeycloakOpenID

from stack.processes import wait_until
from stories.conftest import make_environment
from stories.keycloak_world import KeycloakWorld
from stories.test_no_secret_anywhere import places
from stories.world import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stack import KeycloakServer, RedisServer

MCP, OTHER, UNMAPPED = "https://mcp.example.com/mcp", "https://other.example.com", "https://unmapped.example.com"
SECRET = "what the service introspects with"
SOON = 10.0  # seconds; the tokens themselves live for two minutes
OPTIONS = ("--scope", "read", "--scope", "deploy", "--audience", MCP, "--audience", OTHER)


@pytest.fixture(scope="module")
def signing_world(
    keycloak_server: KeycloakServer, own_story_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KeycloakWorld]:
    """Serve a deployment whose JWTs the realm signs, beside a service that introspects there."""
    folder = tmp_path_factory.mktemp("signed")
    environment = {
        **make_environment(folder),
        "KEYSTILE_ISSUER_KIND": "keycloak",
        "KEYSTILE_SCOPES": "read,deploy",
        "KEYSTILE_AUDIENCES": f"{MCP},{OTHER}",
        "KEYSTILE_TOKEN_TTL": "2m",
    }
    world = KeycloakWorld.prepare(keycloak_server, own_story_redis, folder, environment)
    assert world.set_up() == "nothing to change\n"
    service = {"clientId": MCP, "publicClient": False, "secret": SECRET, "serviceAccountsEnabled": True}
    world.admin.create_client(service)
    with world.server:
        yield world


@pytest.fixture
def world(signing_world: KeycloakWorld) -> Iterator[KeycloakWorld]:
    yield signing_world
    signing_world.mend()


def realm_url(world: KeycloakWorld) -> str:
    return f"{world.keycloak.url}/realms/{world.environment['KEYSTILE_KEYCLOAK_REALM']}"


def is_active(world: KeycloakWorld, token: str) -> bool:
    """Ask the realm, as the service does."""
    realm = world.environment["KEYSTILE_KEYCLOAK_REALM"]
    service = KeycloakOpenID(f"{world.keycloak.url}/", realm, MCP, client_secret_key=SECRET)
    return bool(service.introspect(token)["active"])


def exchanged(world: KeycloakWorld, key: dict[str, Any], **form: str) -> str:
    answer = world.exchange(key, **form)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def becomes_inactive(world: KeycloakWorld, token: str) -> bool:
    """Say whether the realm calls *token* inactive long before it expires."""
    return wait_until(lambda: not is_active(world, token), SOON)


def test_service_that_trusts_the_realm_alone(world: KeycloakWorld) -> None:
    """What our metadata names verifies the token; it is of the realm, for the one audience, and opens nothing else."""
    key = world.issue(world.add_user(), "laptop", *OPTIONS)
    metadata = httpx.get(f"{world.server.url}/.well-known/oauth-authorization-server/sts").json()
    assert metadata["issuer"] == world.issuer
    answer = world.exchange(key, resource=MCP, scope="read").json()
    token = answer["access_token"]
    signing_key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(token)
    claims = jwt.decode(token, signing_key, ["RS256"], audience=MCP, issuer=realm_url(world))
    assert (claims["sub"], claims["scope"], answer["scope"]) == (world.user(key["owner"])["id"], "read", "read")
    assert 0 < claims["exp"] - time.time() <= answer["expires_in"] + 1 <= 121
    assert is_active(world, token)
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    realm = world.environment["KEYSTILE_KEYCLOAK_REALM"]
    assert httpx.get(f"{realm_url(world)}/account", headers=headers).status_code in (401, 403)
    assert httpx.get(f"{world.keycloak.url}/admin/realms/{realm}/users", headers=headers).status_code in (401, 403)
    assert httpx.get(f"{world.server.url}/sts/api/v1/keys", headers=headers).status_code == 401
    assert httpx.get(f"{world.server.url}/sts/jwks.json").json() == {"keys": []}


def test_gateway_gets_a_token_of_the_realm_for_a_key_only(world: KeycloakWorld) -> None:
    """The verify door turns a key into the realm's token; such a token itself names no key, and is refused there."""
    key = world.issue(world.add_user(), "laptop", *OPTIONS)
    answer = world.verify(key["api_key"])
    assert (answer.status_code, answer.headers["x-auth-key-id"]) == (200, key["key_id"])
    token = answer.headers["authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["iss"], claims["aud"]) == (realm_url(world), f"{world.issuer}/default")
    assert set(answer.headers["x-auth-scope"].split()) == {"read", "deploy"} == set(claims["scope"].split())
    assert world.verify(key["api_key"]).headers["authorization"] == answer.headers["authorization"]
    assert world.verify(token).status_code == 401


def test_what_the_realm_cannot_say(world: KeycloakWorld) -> None:
    """RFC 8707 and RFC 6749: an audience nobody mapped is `invalid_target`, a scope nobody mapped `invalid_scope`."""
    key = world.issue(world.add_user(), "laptop", *OPTIONS)
    for form, error in (
        ({"resource": UNMAPPED}, "invalid_target"),
        ({"resource": f"{world.issuer}/api/v1"}, "invalid_target"),
        ({"scope": "launch"}, "invalid_scope"),
        ({"scope": "offline_access"}, "invalid_scope"),
    ):
        answer = world.exchange(key, **form)
        assert (answer.status_code, answer.json()["error"]) == (400, error), form


@pytest.mark.parametrize("how", ["revoke", "suspend", "rotate"])
def test_stopped_key_ends_its_tokens_at_the_realm(world: KeycloakWorld, how: str) -> None:
    """Whoever stops a key, here the command line: the realm calls its tokens inactive at once."""
    key, other = (world.issue(world.add_user(), "laptop", *OPTIONS) for _ in range(2))
    tokens = [exchanged(world, key, resource=MCP), exchanged(world, key, resource=MCP, scope="read")]
    kept = exchanged(world, other, resource=MCP)
    assert all(is_active(world, token) for token in (*tokens, kept))
    options = ("--grace", "0") if how == "rotate" else ()
    done = world.cli("keys", how, key["key_id"], "--yes", *options)
    assert done.returncode == 0, done.stderr
    assert all(becomes_inactive(world, token) for token in tokens)
    assert is_active(world, kept)


def test_link_is_made_with_the_key_and_again_when_lost(world: KeycloakWorld) -> None:
    """The realm knows an owner from the first key on; a link that an administrator removed is made again."""
    key = world.issue(world.add_user(), "laptop", *OPTIONS)
    owner = world.user(key["owner"])["id"]
    assert [link["userId"] for link in world.admin.get_user_social_logins(owner)] == [owner]
    world.admin.delete_user_social_login(owner, "keystile")
    assert is_active(world, exchanged(world, key, resource=MCP))


def test_disabled_owner_is_refused(world: KeycloakWorld) -> None:
    """An owner that was disabled a moment ago gets nothing more, and what he had is inactive."""
    key = world.issue(world.add_user(), "laptop", *OPTIONS)
    token = exchanged(world, key, resource=MCP)
    world.admin.update_user(world.user(key["owner"])["id"], {"enabled": False})
    answer = world.exchange(key, resource=OTHER)
    assert (answer.status_code, answer.json()) == (401, {"error": "invalid_client"})
    assert not is_active(world, token)


def test_key_about_to_expire_is_refused(world: KeycloakWorld) -> None:
    """The realm's tokens live as long as they are told to, so a key that ends before gets none."""
    key = world.issue(world.add_user(), "laptop", *OPTIONS)
    token = exchanged(world, key, resource=MCP)
    assert jwt.decode(token, options={"verify_signature": False})["exp"] > time.time()
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 90))
    assert world.cli("keys", "change", key["key_id"], "--expires", soon).returncode == 0
    answer = until(lambda: world.exchange(key, resource=MCP), lambda answer: answer.status_code == 401, (200, 503))
    assert answer.json() == {"error": "invalid_client"}
    assert becomes_inactive(world, token)


def test_keycloak_away_leaves_the_tokens_at_hand(world: KeycloakWorld) -> None:
    """With Keycloak hung: the token that is at hand while it is valid, else 503 with Retry-After, and never 401."""
    key = world.issue(world.add_user(), "laptop", *OPTIONS)
    world.wait_for_polls()
    token = exchanged(world, key, resource=MCP)
    world.keycloak.suspend()
    assert exchanged(world, key, resource=MCP) == token
    answer = world.exchange(key, resource=OTHER)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    world.mend()
    until(lambda: world.exchange(key, resource=OTHER), lambda answer: answer.status_code == 200, (503,))


def test_revoke_while_keycloak_is_away_ends_tokens_later(world: KeycloakWorld) -> None:
    """A revoke bites here at once; the realm is told as soon as it answers."""
    key = world.issue(world.add_user(), "laptop", *OPTIONS)
    token = exchanged(world, key, resource=MCP)
    world.keycloak.suspend()
    done = world.cli("keys", "revoke", key["key_id"], "--yes")
    assert done.returncode == 0, done.stderr
    world.verify_until(key["api_key"], 401, meanwhile=(200,))
    world.mend()
    assert becomes_inactive(world, token)


def test_doctor_gets_a_token(world: KeycloakWorld) -> None:
    """Doctor asks for a token of each audience, and names the one the realm does not know."""
    done = world.cli("doctor", "--no-count")
    for audience in (f"{world.issuer}/default with read deploy", MCP, OTHER):
        assert f"ok   the realm signs tokens for {audience}\n" in done.stdout
    spoilt = world.cli("doctor", "--no-count", KEYSTILE_AUDIENCES=f"{MCP},{UNMAPPED}")
    assert f"FAIL the realm signs tokens for {UNMAPPED}: it says audience denied" in spoilt.stdout
    assert spoilt.returncode == 1


def test_no_token_and_no_assertion_key_anywhere(world: KeycloakWorld) -> None:
    """Neither stands in a log, in the audit, or in Redis to be read; the key's file is for its owner alone."""
    key = world.issue(world.add_user(), "laptop", *OPTIONS)
    token = exchanged(world, key, resource=MCP)
    path = world.folder / "data/signing-keys/assertions/es256.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    secrets = (token.rpartition(".")[2], token.split(".")[1], path.read_text().splitlines()[1])
    written = [(place, text) for place, text in places(world) if str(path) not in place]
    assert [place for place, text in written if any(secret in text for secret in secrets)] == []
