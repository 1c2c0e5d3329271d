"""Redis or Keycloak down, hung or emptied: keys keep working, and nobody is told 401 for an outage."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import redis

from stack.processes import soon

if TYPE_CHECKING:
    from stories.keycloak_world import KeycloakWorld


@pytest.mark.parametrize("break_it", ["kill", "suspend"])
def test_redis_away_never_stops_verification(world: KeycloakWorld, break_it: str) -> None:
    """With Redis dead or hung, known and cold keys are answered from Keycloak, quickly, and again after its return."""
    known, cold = world.issue(world.add_user()), world.issue(world.add_user())
    assert world.verify(known["api_key"]).status_code == 200
    token = world.jwt(known)
    getattr(world.redis, break_it)()
    for credential in (known["api_key"], cold["api_key"], token):
        began_at = time.monotonic()
        answer = world.verify_until(credential, 200, meanwhile=())
        assert time.monotonic() - began_at < 3, answer
    world.mend()
    assert world.verify(cold["api_key"]).status_code == 200


def test_a_key_is_revoked_while_redis_is_away(world: KeycloakWorld) -> None:
    """A revoke does not need Redis: it is written to Keycloak, which answers for every key meanwhile."""
    key = world.issue(world.add_user())
    assert world.verify(key["api_key"]).status_code == 200
    world.redis.kill()
    time.sleep(1.0)  # until the log counts as unheard, its silence may still be believed
    world.revoke(key["key_id"])
    assert world.verify(key["api_key"]).status_code == 401
    issued = world.cli("keys", "issue", "--owner", key["owner"], "--name", "x")
    assert (issued.returncode, "try again" in issued.stderr) == (1, True)
    world.mend()
    assert world.verify(key["api_key"]).status_code == 401


def test_a_key_revoked_while_redis_hung_stays_dead(world: KeycloakWorld) -> None:
    """What the log could not be told, the poller tells it: key and JWT die, and an old console page changes nothing."""
    key = world.issue(world.add_user())
    page = world.user(key["owner"])
    token = world.jwt(key)
    assert {world.verify(text).status_code for text in (key["api_key"], token)} == {200}
    world.redis.suspend()
    world.revoke(key["key_id"])
    world.redis.resume()
    for credential in (key["api_key"], token):
        world.verify_until(credential, 401, meanwhile=(200, 503))
    time.sleep(1.5)  # a poll: from then on the floor is there
    world.admin.update_user(page["id"], page)
    until = time.monotonic() + 4
    while time.monotonic() < until:
        assert world.verify(key["api_key"]).status_code == 401


def test_a_saved_user_profile_stops_nothing(world: KeycloakWorld) -> None:
    """An admin event whose path looks like a user's is followed past: changes are still seen."""
    key = world.issue(world.add_user())
    world.admin.update_realm_users_profile(world.admin.get_realm_users_profile())
    assert world.verify(key["api_key"]).status_code == 200
    world.admin.update_user(world.user(key["owner"])["id"], {"enabled": False})
    world.verify_until(key["api_key"], 401, meanwhile=(200, 503))


def test_a_flushed_redis_loses_no_key(world: KeycloakWorld) -> None:
    """Every key works after Redis lost everything; a revoked one stays revoked."""
    key, revoked = world.issue(world.add_user()), world.issue(world.add_user())
    world.revoke(revoked["key_id"])
    with redis.Redis.from_url(world.redis.url) as client:
        client.flushall()
    assert world.verify(key["api_key"]).status_code == 200
    assert world.verify(revoked["api_key"]).status_code == 401
    token = world.jwt(key)
    world.revoke(key["key_id"])
    world.verify_until(key["api_key"], 401, meanwhile=(200,))
    world.verify_until(token, 401, meanwhile=(200,))


def test_keycloak_away_means_503_for_what_is_not_known(world: KeycloakWorld) -> None:
    """Keycloak stopped: known keys are answered, unknown ones get 503 with Retry-After, forged ones 401."""
    known, cold = world.issue(world.add_user()), world.issue(world.add_user())
    world.wait_for_polls()
    assert world.verify(known["api_key"]).status_code == 200
    world.keycloak.suspend()
    try:
        assert world.verify(known["api_key"]).status_code == 200
        answer = world.verify(cold["api_key"])
        assert (answer.status_code, answer.json()) == (503, {"error": "temporarily_unavailable"})
        assert int(answer.headers["retry-after"]) >= 1
        assert world.verify(cold["api_key"][:-1] + "~").status_code == 401
    finally:
        world.keycloak.resume()
    world.verify_until(cold["api_key"], 200, meanwhile=(503,))


def test_a_key_is_revoked_while_keycloak_is_away(world: KeycloakWorld) -> None:
    """With Keycloak hung a revoke is said at once, obeyed at once, and written when Keycloak answers again."""
    key = world.issue(world.add_user())
    token = world.jwt(key)
    assert {world.verify(text).status_code for text in (key["api_key"], token)} == {200}
    world.keycloak.suspend()
    try:
        done = world.cli("keys", "revoke", key["key_id"], "--yes", "--json")
        assert (done.returncode, '"pending": true' in done.stdout) == (0, True), done.stderr
        assert soon(lambda: {world.verify(text).status_code for text in (key["api_key"], token)} == {401})
    finally:
        world.keycloak.resume()
    world.verify_until(key["api_key"], 401, meanwhile=(503,))
    until_written = time.monotonic() + 20
    while '"status": "revoked"' not in world.cli("keys", "show", key["key_id"], "--json").stdout:
        assert time.monotonic() < until_written, "the death was never written"


def test_a_reader_without_its_role_is_an_alert_not_a_refusal(world: KeycloakWorld) -> None:
    """A reader that lost `view-users` gets 503 for valid keys and an alert in the audit log, never a 401."""
    cold = world.issue(world.add_user())
    reader = world.admin.get_client_id("keystile-reader")
    assert reader is not None
    account = world.admin.get_client_service_account_user(reader)
    management = world.admin.get_client_id("realm-management")
    assert management is not None
    role = world.admin.get_client_role(management, "view-users")
    world.admin.delete_client_roles_of_user(account["id"], management, [role])
    try:
        # tokens carry roles: the loss shows when the reader's token is renewed, at the latest by its expiry
        world.server.restart()
        assert world.verify(cold["api_key"]).status_code == 503
    finally:
        world.admin.assign_client_role(account["id"], management, [role])
        world.server.restart()
    assert '"event":"alert"' in (world.folder / "audit.log").read_text()
    world.verify_until(cold["api_key"], 200, meanwhile=(503,))
