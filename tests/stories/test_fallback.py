"""The paginated fallback on a realm of 250 users: older keys, and records whose look-up value was lost."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from typing import TYPE_CHECKING, Any

import bcrypt
import pytest
import redis

from stack import KeystileServer

if TYPE_CHECKING:
    from stories.keycloak_world import KeycloakWorld

_CREATED = "2024-05-06T07:08:09"


@pytest.fixture(scope="module", autouse=True)
def _many_users(story_world: KeycloakWorld) -> None:
    users = [
        {"username": f"crowd-{number:03}-{secrets.token_hex(3)}", "enabled": True, "firstName": "C", "lastName": "R"}
        for number in range(250)
    ]
    story_world.admin.partial_import_realm(story_world.environment["KEYSTILE_KEYCLOAK_REALM"], _import(users))


def _import(users: list[dict[str, Any]]) -> dict[str, Any]:
    return {"ifResourceExists": "FAIL", "users": users}


@pytest.mark.parametrize("with_hash", [True, False], ids=["cacheHash", "bcrypt alone"])
def test_an_older_key_is_found_by_the_crawl_and_then_by_one_query(world: KeycloakWorld, *, with_hash: bool) -> None:
    """An older key verifies through the index, 503 until then, and the second time by its look-up value."""
    username, record_id, key = _older_key(world, with_hash=with_hash)
    answer = world.verify_until(key, 200, meanwhile=(503,))
    assert answer.headers["x-auth-key-id"] == record_id
    assert answer.headers["x-auth-username"] == username
    _wait_for_lookup(world, username)
    world.wait_for_polls()  # the event of the healing itself
    _forget_verdicts(world)
    with KeystileServer(world.environment, log_path=world.folder / "cold.log") as cold:
        mark = world.keycloak.mark()
        assert world.verify(key, url=cold.url).status_code == 200
        requests = world.keycloak.requests_since(mark)
    assert sum("q=apiKeyLookup" in line for line in requests) == 1, requests
    assert not [line for line in requests if "first=" in line and "/users?" in line], "no page was read"
    kept = world.user(username)["attributes"]
    assert kept["apiKeys"][0].startswith(f"key:{record_id}:$2b$12$")
    assert kept[f"apiKey_{record_id}_name"] == ["an older key"]


def test_older_keys_are_listed_and_revoked(world: KeycloakWorld) -> None:
    """An older key shows in lists as it is, and a revoke ends it for good."""
    username, record_id, key = _older_key(world, with_hash=True)
    assert record_id in world.cli("keys", "list", "--owner", username, "--json").stdout
    world.verify_until(key, 200, meanwhile=(503,))
    world.revoke(record_id)
    world.verify_until(key, 401, meanwhile=(200, 503))


@pytest.mark.parametrize(("grace", "then"), [("1h", 200), ("0", 401)])
def test_an_older_key_is_rotated_into_one_of_the_current_format(world: KeycloakWorld, grace: str, then: int) -> None:
    """Its successor works at once; the older key goes on until the grace ends, or ends now."""
    _, record_id, key = _older_key(world, with_hash=True)
    world.verify_until(key, 200, meanwhile=(503,))
    done = world.cli("keys", "rotate", record_id, "--grace", grace, "--yes", "--json")
    assert done.returncode == 0, done.stderr
    successor = json.loads(done.stdout)
    world.ledger.append(successor["api_key"])
    answer = world.verify_until(successor["api_key"], 200, meanwhile=(503,))
    assert answer.headers["x-auth-key-id"] == successor["key_id"] != record_id
    world.verify_until(key, then, meanwhile=(200, 503))


def test_an_expired_older_key_is_refused(world: KeycloakWorld) -> None:
    """The older `expiresAt` is honoured; naive means UTC."""
    _, _, key = _older_key(world, with_hash=True, expires_at="2025-01-01T00:00:00")
    world.verify_until(key, 401, meanwhile=(503,))


def test_a_record_that_lost_its_look_up_value_is_healed(world: KeycloakWorld) -> None:
    """A new-format key whose look-up value was removed verifies through the index and gets the value back."""
    key = world.issue(world.add_user())
    user = world.user(key["owner"])
    lookup = user["attributes"].pop("apiKeyLookup")
    world.admin.update_user(user["id"], user)
    world.verify_until(key["api_key"], 200, meanwhile=(503,))
    _wait_for_lookup(world, key["owner"])
    assert world.user(key["owner"])["attributes"]["apiKeyLookup"] == lookup


def test_an_unknown_key_is_refused_at_once_after_a_crawl(world: KeycloakWorld) -> None:
    """With a finished crawl and events followed, a validly shaped key nobody holds is a plain 401."""
    world.verify_until("mcpkey_live_" + secrets.token_urlsafe(32), 401, meanwhile=(503,))


def _older_key(world: KeycloakWorld, *, with_hash: bool, expires_at: str = "") -> tuple[str, str, str]:
    key = "mcpkey_live_" + secrets.token_urlsafe(32)
    world.ledger.append(key)
    record_id = secrets.token_hex(4)
    beside = {"name": "an older key", "created": _CREATED, "expiresAt": expires_at, "lastUsed": _CREATED}
    if with_hash:
        secret = world.environment["KEYSTILE_OLDER_HMAC_SECRET"].encode()
        beside["cacheHash"] = hmac.new(secret, key.encode(), hashlib.sha256).hexdigest()
    hashed = bcrypt.hashpw(key.encode(), bcrypt.gensalt(12)).decode()
    attributes = {f"apiKey_{record_id}_{name}": [value] for name, value in beside.items() if value}
    username = world.add_user(attributes={"apiKeys": [f"key:{record_id}:{hashed}"], **attributes})
    return username, record_id, key


def _wait_for_lookup(world: KeycloakWorld, username: str) -> None:
    for _ in range(200):
        if world.user(username)["attributes"].get("apiKeyLookup"):
            return
    raise AssertionError("the record was not healed")


def _forget_verdicts(world: KeycloakWorld) -> None:
    with redis.Redis.from_url(world.redis.url) as client:
        for name in client.scan_iter("keystile:v4:*"):
            client.delete(name)
