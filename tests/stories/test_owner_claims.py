"""What JWTs tell of owners, on a real realm: roles, groups and attributes that settings name, and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jwt
import pytest

from stack.processes import wait_until
from stories.conftest import make_environment
from stories.keycloak_world import KeycloakWorld

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stack import KeycloakServer, RedisServer

SHOP = "shop"
SOON = 20.0  # seconds; the promise is 5
TOLD = {
    "KEYSTILE_CLAIM_ROLES": f"deployer,{SHOP}:seller",
    "KEYSTILE_CLAIM_GROUPS": "/ops",
    "KEYSTILE_CLAIM_MAPPERS": "department:dept,badge:badges[]",
}
DEPARTMENT = {"name": "department", "permissions": {"view": ["admin"], "edit": ["admin"]}}
BADGE = {**DEPARTMENT, "name": "badge", "multivalued": True}


@pytest.fixture(scope="module")
def telling_world(
    keycloak_server: KeycloakServer, own_story_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KeycloakWorld]:
    """Serve a deployment whose JWTs tell of owners; the client's role is there before it is marked."""
    folder = tmp_path_factory.mktemp("telling")
    world = KeycloakWorld.prepare(keycloak_server, own_story_redis, folder, make_environment(folder))
    world.admin.create_client({"clientId": SHOP})
    for role in ("seller", "buyer"):
        world.admin.create_client_role(str(world.admin.get_client_id(SHOP)), {"name": role})
    for role in ("deployer", "auditor"):
        world.admin.create_realm_role({"name": role})
    for group in ("ops", "sales"):
        world.admin.create_group({"name": group})
    profile = world.admin.get_realm_users_profile()
    world.admin.update_realm_users_profile({**profile, "attributes": [*profile["attributes"], DEPARTMENT, BADGE]})
    world.environment.update(TOLD)
    world.server.environment.update(TOLD)
    assert SHOP in world.set_up()
    with world.server:
        yield world


def claims_of(world: KeycloakWorld, key: dict[str, Any]) -> dict[str, Any]:
    """Return what a fresh JWT says."""
    return jwt.decode(world.jwt(key), options={"verify_signature": False})


def told(claims: dict[str, Any]) -> dict[str, Any]:
    """Return what of that is of the owner."""
    return {name: claims.get(name) for name in ("roles", "groups", "dept", "badges")}


def test_jwt_tells_of_its_owner_what_settings_name(telling_world: KeycloakWorld) -> None:
    """A realm role, a client's role, a group and attributes are told; others of the same owner are not."""
    world = telling_world
    username = world.add_user(attributes={"department": ["research"], "badge": ["gold", "silver"]})
    user = world.user(username)["id"]
    client, groups = (
        str(world.admin.get_client_id(SHOP)),
        {each["name"]: each["id"] for each in world.admin.get_groups()},
    )
    for role in ("seller", "buyer"):
        world.admin.assign_client_role(user, client, [world.admin.get_client_role(client, role)])
    world.admin.assign_realm_roles(user, [world.admin.get_realm_role(role) for role in ("deployer", "auditor")])
    for group in ("ops", "sales"):
        world.admin.group_user_add(user, groups[group])
    key = world.issue(username)
    claims = claims_of(world, key)
    badges = claims.pop("badges")
    assert sorted(badges) == ["gold", "silver"]
    assert {name: sorted(claims[name]) for name in ("roles", "groups")} == {
        "roles": ["deployer", f"{SHOP}:seller"],
        "groups": ["/ops"],
    }
    assert claims["dept"] == "research"


def test_lost_role_and_changed_attribute_are_not_told_any_more(telling_world: KeycloakWorld) -> None:
    """Within the bound for changes made in Keycloak, JWTs say what is so now; an owner with nothing tells nothing."""
    world = telling_world
    username = world.add_user(attributes={"department": ["research"]})
    user = world.user(username)
    role = world.admin.get_realm_role("deployer")
    world.admin.assign_realm_roles(user["id"], [role])
    key = world.issue(username)
    assert told(claims_of(world, key)) == {"roles": ["deployer"], "groups": None, "dept": "research", "badges": None}
    world.admin.delete_realm_roles_of_user(user["id"], [role])
    current = world.user(username)
    world.admin.update_user(user["id"], {**current, "attributes": {**current["attributes"], "department": ["sales"]}})
    now = {"roles": None, "groups": None, "dept": "sales", "badges": None}
    assert wait_until(lambda: told(claims_of(world, key)) == now, SOON)
