"""The main job on real Keycloak and Redis: a key in, a JWT out, a revocation that bites."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import httpx
import jwt
import redis
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet

from stack import KeystileServer
from stack.processes import soon

if TYPE_CHECKING:
    from stories.keycloak_world import KeycloakWorld


def test_a_key_becomes_a_jwt_that_others_verify(world: KeycloakWorld) -> None:
    """A JWT for an issued key verifies with PyJWT's `PyJWKClient` as it is, and with joserfc."""
    username = world.add_user()
    key = world.issue(username, "laptop", "--scope", "read", "--audience", "https://mcp.example.com/mcp")
    answer = world.exchange(key, resource="https://mcp.example.com/mcp")
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    token = answer.json()["access_token"]
    signing = jwt.PyJWKClient(f"{world.issuer}/jwks.json").get_signing_key_from_jwt(token)
    claims = jwt.decode(token, signing, ["RS256"], audience="https://mcp.example.com/mcp", issuer=world.issuer)
    assert claims["sub"] == world.user(username)["id"]
    assert claims["client_id"] == key["key_id"]
    assert claims["scope"] == "read"
    keys = KeySet.import_key_set(httpx.get(f"{world.issuer}/jwks.json").json())
    assert joserfc_jwt.decode(token, keys, algorithms=["RS256"]).claims == claims


def test_every_way_of_presenting_a_key_gives_the_same(world: KeycloakWorld) -> None:
    """Basic, form fields, Bearer and `X-API-Key` all reach the same decision at every door that takes them."""
    key = world.issue(world.add_user())
    form = {"grant_type": "client_credentials"}
    token_url = f"{world.server.url}/sts/token"
    fields = {**form, "client_id": key["key_id"], "client_secret": key["api_key"]}
    answers = [
        world.exchange(key),
        httpx.post(token_url, data=fields),
        httpx.post(token_url, data=form, headers={"Authorization": f"Bearer {key['api_key']}"}),
        httpx.post(token_url, data=form, headers={"X-API-Key": key["api_key"]}),
        httpx.post(f"{world.server.url}/api/v1/api-keys/validate", headers={"X-API-Key": key["api_key"]}),
        world.verify(key["api_key"]),
        httpx.request("PURGE", f"{world.server.url}/sts/verify/a/b?c=d", headers={"X-API-Key": key["api_key"]}),
    ]
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    assert answers[4].json()["key_id"] == key["key_id"]


def test_the_gateway_gets_a_jwt_and_the_identity(world: KeycloakWorld) -> None:
    """`/sts/verify` answers with a JWT and identity headers alone, and passes that JWT on unchanged."""
    username = world.add_user()
    key = world.issue(username)
    answer = world.verify(key["api_key"])
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["x-auth-username"] == username
    assert answer.headers["x-auth-key-id"] == key["key_id"]
    assert answer.headers["x-auth-scope"] == "-"
    token = answer.headers["authorization"].removeprefix("Bearer ")
    again = world.verify(token)
    assert (again.status_code, again.headers["authorization"]) == (200, f"Bearer {token}")


def test_a_revoke_is_obeyed_by_every_process_within_a_second(world: KeycloakWorld) -> None:
    """Two servers that know a key and its JWT refuse both within a second of the command's answer."""
    key = world.issue(world.add_user())
    with KeystileServer(world.environment, log_path=world.folder / "second.log") as second:
        urls = (world.server.url, second.url)
        token = world.jwt(key)
        credentials = (key["api_key"], token)
        assert {world.verify(text, url=url).status_code for url in urls for text in credentials} == {200}
        world.revoke(key["key_id"])
        assert soon(lambda: {world.verify(text, url=url).status_code for url in urls for text in credentials} == {401})


def test_the_cli_speaks_json_alone(world: KeycloakWorld) -> None:
    """With `--json` standard output is one document, with or without an error."""
    key = world.issue(world.add_user())
    shown = json.loads(world.cli("keys", "show", key["key_id"], "--json").stdout)
    assert (shown["status"], shown["owner"]) == ("active", key["owner"])
    listed = json.loads(world.cli("keys", "list", "--owner", key["owner"], "--json").stdout)
    assert [item["key_id"] for item in listed["keys"]] == [key["key_id"]]
    revoked = json.loads(world.cli("keys", "revoke", key["key_id"], "--yes", "--json").stdout)
    assert revoked["status"] == "revoked"
    exchanged = world.cli("exchange", "--json", stdin=world.issue(key["owner"])["api_key"])
    assert json.loads(exchanged.stdout)["token_type"] == "Bearer"
    failed = world.cli("keys", "issue", "--owner", "nobody-at-all", "--name", "x", "--json")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "nobody-at-all" in failed.stderr


def test_an_owner_holds_at_most_five_live_keys(world: KeycloakWorld) -> None:
    """The sixth live key is refused; a revoked one makes room."""
    username = world.add_user()
    keys = [world.issue(username, f"key {number}") for number in range(5)]
    refused = world.cli("keys", "issue", "--owner", username, "--name", "sixth")
    assert (refused.returncode, "5 live keys" in refused.stderr) == (1, True)
    world.revoke(keys[0]["key_id"])
    world.issue(username, "sixth")


def test_disabled_and_deleted_owners_are_refused(world: KeycloakWorld) -> None:
    """A key is refused within seconds of its owner being disabled, and so when the owner is gone."""
    disabled, deleted = world.issue(world.add_user()), world.issue(world.add_user())
    assert world.verify(disabled["api_key"]).status_code == world.verify(deleted["api_key"]).status_code == 200
    world.admin.update_user(world.user(disabled["owner"])["id"], {"enabled": False})
    world.admin.delete_user(world.user(deleted["owner"])["id"])
    for key in (disabled, deleted):
        answer = world.verify_until(key["api_key"], 401, meanwhile=(200, 503))
        assert answer.json() == {"error": "invalid_token"}


def test_a_console_page_saved_after_a_revoke_does_not_bring_the_key_back(world: KeycloakWorld) -> None:
    """An old page saved after the revoke restores the record, never the key, and the death is written again."""
    key = world.issue(world.add_user())
    page = world.user(key["owner"])
    assert world.verify(key["api_key"]).status_code == 200
    world.revoke(key["key_id"])
    world.admin.update_user(page["id"], page)
    assert {world.verify(key["api_key"]).status_code for _ in range(20)} == {401}
    shown = _show_until(world, key["key_id"], "revoked")
    assert shown["revoked_reason"]
    assert "change_undone" in (world.folder / "audit.log").read_text()


def test_forged_keys_cause_no_traffic(world: KeycloakWorld) -> None:
    """Two hundred forged keys reach neither Redis nor Keycloak: both say so themselves."""
    real = world.issue(world.add_user())["api_key"]
    forged = [f"{real[:-1]}{letter}" for letter in "abcdefghij" if letter != real[-1]] * 22
    world.wait_for_polls()  # the user and its key are news, which is read again
    mark = world.keycloak.mark()
    with redis.Redis.from_url(world.redis.url) as client:
        before = _look_ups(client)
        with httpx.Client() as http:
            answers = {
                http.get(f"{world.server.url}/sts/verify", headers={"X-API-Key": key}).status_code
                for key in forged[:200]
            }
        made = [now - then for now, then in zip(_look_ups(client), before, strict=True)]
        assert made == [0, 0, 0]
    assert answers == {401}
    assert not [line for line in world.keycloak.requests_since(mark) if "/users" in line]


def test_set_up_twice_changes_nothing(world: KeycloakWorld) -> None:
    """`keystile keycloak setup` is idempotent, and `doctor` finds nothing wrong after it; other tests' keys aside."""
    assert world.set_up() == "nothing to change\n"
    doctor = world.cli("doctor", "--no-count", "--json")
    assert [finding for finding in json.loads(doctor.stdout)["findings"] if not finding["ok"]] == []
    assert doctor.returncode == 0


def _look_ups(client: redis.Redis) -> tuple[int, ...]:
    stats = client.info("commandstats")
    return tuple(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("mget", "lindex", "lpush"))


def _show_until(world: KeycloakWorld, key_id: str, status: str) -> dict[str, str]:
    end = time.monotonic() + 20
    while True:
        shown: dict[str, str] = json.loads(world.cli("keys", "show", key_id, "--json").stdout)
        if shown["status"] == status:
            return shown
        assert time.monotonic() < end, shown
