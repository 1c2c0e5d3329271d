"""The management API on real Keycloak and Redis: what admins and owners do, and what outages leave of it."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from stack import KeystileServer
from stack.processes import soon
from stories.api import PASSWORD, by_admin_key, signed_in
from stories.world import until
from unit.routes import DONE, EVERYTHING, IN_ORDER, OF_NOBODY, REFUSED, request_of

if TYPE_CHECKING:
    from keystile.http.api.operation import Operation
    from stories.api import Api
    from stories.keycloak_world import KeycloakWorld


def add_person(world: KeycloakWorld, *roles: str) -> str:
    """Create a user who can sign in, with these roles of the client `keystile`."""
    username = world.add_user(credentials=[{"type": "password", "value": PASSWORD, "temporary": False}])
    client = str(world.admin.get_client_id("keystile"))
    found = [world.admin.get_client_role(client, role) for role in roles]
    if found:
        world.admin.assign_client_role(world.user(username)["id"], client, found)
    return username


def statuses(world: KeycloakWorld, *credentials: str, url: str = "") -> list[int]:
    return [world.verify(credential, url=url).status_code for credential in credentials]


def test_an_owner_manages_its_own_keys(world: KeycloakWorld) -> None:
    """Whoever can sign in issues, sees, narrows, rotates and revokes keys of its own, and nobody else's."""
    alice, bob = (signed_in(world, add_person(world)) for _ in range(2))
    key = alice.issue(scopes=["read", "write"])
    assert statuses(world, key["api_key"]) == [200]
    path = f"/keys/{key['key_id']}"
    assert [each["key_id"] for each in alice.ask("GET", "/keys").json()["keys"]] == [key["key_id"]]
    assert [bob.ask(method, path).status_code for method in ("GET", "DELETE")] == [404, 404]
    assert alice.ask("PATCH", path, {"scopes": ["read"]}).json()["scopes"] == ["read"]
    assert alice.ask("PATCH", path, {"scopes": ["read", "write"]}).status_code == 403
    assert alice.ask("PATCH", path, {"requests_per_hour": 5}).status_code == 403
    assert alice.ask("POST", "/keys", {"name": "x", "scopes": ["keys:admin"]}).status_code == 403
    rotated = alice.ask("POST", f"{path}/rotate", {"grace": 0}).json()
    assert statuses(world, key["api_key"], rotated["api_key"]) == [401, 200]
    assert alice.ask("DELETE", path).json()["status"] == "revoked"
    assert statuses(world, rotated["api_key"]) == [401]


def test_an_admin_manages_everybodys_keys(world: KeycloakWorld) -> None:
    """The role `key-admin` reaches all keys; a key for somebody else says who issued it, and is refused for admins."""
    admin, owner = signed_in(world, add_person(world, "key-admin")), add_person(world)
    key = admin.issue(owner=owner, level="user")
    assert key["issued_by"].startswith("realm:")
    assert statuses(world, key["api_key"]) == [200]
    assert admin.ask("POST", "/keys", {"name": "x", "owner": add_person(world, "key-admin")}).status_code == 403
    found = admin.ask("GET", f"/keys?owner={owner}&limit=200")
    assert key["key_id"] in [each["key_id"] for each in found.json()["keys"]]
    ended = admin.ask("POST", f"/users/{world.user(owner)['id']}/keys/revoke-all", {"reason": "privilege_withdrawn"})
    assert ended.json()["revoked"] == [key["key_id"]]
    assert statuses(world, key["api_key"]) == [401]


def test_changes_bite_in_every_process_within_a_second(world: KeycloakWorld) -> None:
    """Suspend, narrow, and the end of a grace are obeyed by a process that was only told of them."""
    api = by_admin_key(world)
    with KeystileServer(world.environment, log_path=world.folder / "other.log") as other:
        key = api.issue(owner=world.add_user(), scopes=["read", "write"])
        token, path = world.jwt(key), f"/keys/{key['key_id']}"
        assert statuses(world, key["api_key"], token, url=other.url) == [200, 200]
        api.ask("PATCH", path, {"scopes": ["read"]})
        assert soon(lambda: statuses(world, key["api_key"], token, url=other.url) == [200, 401])
        assert world.verify(key["api_key"], url=other.url).headers["x-auth-scope"] == "read"
        rotated = api.ask("POST", f"{path}/rotate", {"grace": 2}).json()
        token = world.jwt(key)
        assert statuses(world, key["api_key"], token, rotated["api_key"], url=other.url) == [200, 200, 200]
        assert soon(
            lambda: statuses(world, key["api_key"], token, rotated["api_key"], url=other.url) == [401, 401, 200]
        )
        token = world.jwt(rotated)
        api.ask("POST", f"{path}/suspend")
        assert soon(lambda: statuses(world, rotated["api_key"], token, url=other.url) == [401, 401])
        assert api.ask("POST", f"{path}/resume").json()["status"] == "active"
        assert soon(lambda: statuses(world, rotated["api_key"], token, url=other.url) == [200, 401])


def test_a_console_page_from_before_a_suspension_changes_nothing(world: KeycloakWorld) -> None:
    """A page saved after the suspension does not bring the key back, and the suspension is written again."""
    api, owner = by_admin_key(world), world.add_user()
    key = api.issue(owner=owner)
    page = world.user(owner)
    assert api.ask("POST", f"/keys/{key['key_id']}/suspend").status_code == 200
    world.admin.update_user(page["id"], page)
    assert set(statuses(world, *[key["api_key"]] * 20)) == {401}
    until(
        lambda: api.ask("GET", f"/keys/{key['key_id']}"),
        lambda answer: answer.json()["status"] == "suspended",
        (200, 503),
    )
    assert api.ask("POST", f"/keys/{key['key_id']}/resume").json()["status"] == "active"
    world.verify_until(key["api_key"], 200, meanwhile=(401,))


def test_without_redis_stops_are_taken_and_changes_are_not(world: KeycloakWorld) -> None:
    """Redis dead: a change is 503 with Retry-After, revoke and suspend are done."""
    api = by_admin_key(world)
    keys = [api.issue(owner=world.add_user()) for _ in range(3)]
    assert statuses(world, *(key["api_key"] for key in keys)) == [200] * 3
    world.redis.kill()
    paths = [f"/keys/{key['key_id']}" for key in keys]
    refused = api.ask("PATCH", paths[0], {"name": "desk"})
    assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
    assert int(refused.headers["retry-after"]) >= 1
    assert api.ask("POST", f"{paths[1]}/suspend").json()["status"] == "suspended"
    assert api.ask("POST", f"{paths[2]}/revoke", {}).json()["status"] == "revoked"
    for key, status in zip(keys, (200, 401, 401), strict=True):
        world.verify_until(key["api_key"], status, meanwhile=(200, 503))
    world.mend()
    for key, status in zip(keys, (200, 401, 401), strict=True):
        world.verify_until(key["api_key"], status, meanwhile=(503,))


def test_without_keycloak_stops_are_taken_at_once_and_written_later(world: KeycloakWorld) -> None:
    """Keycloak hung: suspend and revoke are 202 and bite; written when it answers, when resuming works again."""
    admin = signed_in(world, add_person(world, "key-admin"))
    keys = [admin.issue(owner=world.add_user()) for _ in range(2)]
    assert statuses(world, *(key["api_key"] for key in keys)) == [200, 200]
    paths = [f"/keys/{key['key_id']}" for key in keys]
    world.keycloak.suspend()
    try:
        stopped = [admin.ask("POST", f"{paths[0]}/suspend"), admin.ask("POST", f"{paths[1]}/revoke", {})]
        assert [(answer.status_code, answer.json()["pending"]) for answer in stopped] == [(202, True)] * 2
        assert statuses(world, *(key["api_key"] for key in keys)) == [401, 401]
        assert admin.ask("PATCH", paths[0], {"name": "desk"}).status_code == 503
    finally:
        world.keycloak.resume()
    _shown_as(admin, paths[0], "suspended")
    _shown_as(admin, paths[1], "revoked")
    until(lambda: admin.ask("POST", f"{paths[0]}/resume"), lambda answer: answer.status_code == 200, (503,))
    world.verify_until(keys[0]["api_key"], 200, meanwhile=(401, 503))
    assert statuses(world, keys[1]["api_key"]) == [401]


def _shown_as(api: Api, path: str, status: str) -> None:
    until(
        lambda: api.ask("GET", path),
        lambda answer: answer.status_code == 200 and answer.json()["status"] == status,
        (200, 503),
    )


def test_every_route_for_people(world: KeycloakWorld) -> None:
    """Who signs in may do everything with keys of its own, and nothing with others' unless it is a key admin."""
    for roles, allowed in (((), OF_NOBODY), (("key-admin",), EVERYTHING)):
        username = add_person(world, *roles)
        api = signed_in(world, username)
        for owner, may in ((world.add_user(), allowed), (username, EVERYTHING)):
            target = by_admin_key(world).issue(owner=owner, expires="30d") if owner != username else api.issue()
            for operation in IN_ORDER:
                status = _walk(world, api, operation, target)
                wanted = DONE if operation.name in may else REFUSED
                assert status in wanted, (roles, owner == username, operation.name, status)


def _walk(world: KeycloakWorld, api: Api, operation: Operation, target: dict[str, Any]) -> int:
    """Ask for *operation* on that key, or on its owner; return the status."""
    path, body = request_of(operation, target, target["owner_id"])
    if operation.name == "resume_key":  # what an administrator suspended, its owner could not resume
        suspend = f"/keys/{target['key_id']}/suspend"
        if api.ask("POST", suspend).status_code != HTTPStatus.OK:
            by_admin_key(world).ask("POST", suspend)
    return api.ask(operation.method, path, body).status_code
