"""Peppers changed, retired and lost, on real Keycloak and Redis: no key is ever re-issued."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import redis

from keystile.peppers import new_pepper
from stack import KeystileServer
from stack.processes import wait_until

if TYPE_CHECKING:
    from stories.keycloak_world import KeycloakWorld

_WITHIN = 15.0  # seconds for a digest to be rewritten in the background


def digest_pepper(world: KeycloakWorld, key: dict[str, Any]) -> str:
    """Return the id of the pepper under which Keycloak holds the digest of *key*."""
    records = [json.loads(text) for text in world.user(key["owner"])["attributes"]["apiKeys"]]
    return next(str(record["digest_pepper"]) for record in records if record["id"] == key["key_id"])


def use(world: KeycloakWorld, peppers: str, keys: list[dict[str, Any]], **settings: str) -> None:
    """Serve with those *peppers* and see that every key works, and gets a digest under the first of them."""
    environment = world.environment | {"KEYSTILE_PEPPERS": peppers, **settings}
    current = peppers.partition(":")[0]
    with KeystileServer(environment, log_path=world.folder / f"peppers-{current}.log") as server:
        for key in keys:
            world.verify_until(key["api_key"], 200, meanwhile=(503,), url=server.url)
        for key in keys:
            assert wait_until(lambda key=key: digest_pepper(world, key) == current, _WITHIN), key["key_id"]  # type: ignore[misc]


def test_every_key_survives_changed_retired_and_lost_peppers(world: KeycloakWorld) -> None:
    """Two changes, one retirement, then all peppers and Redis lost: every key works, by bcrypt if need be."""
    keys = [world.issue(world.add_user()) for _ in range(2)]
    rotated = json.loads(world.cli("keys", "rotate", keys[0]["key_id"], "--grace", "1h", "--yes", "--json").stdout)
    world.ledger.append(rotated["api_key"])
    world.server.stop()  # it knows the first pepper alone
    first = world.environment["KEYSTILE_PEPPERS"]
    second, third, fourth = (new_pepper(name) for name in ("p2", "p3", "p4"))
    current = [rotated, keys[1]]
    use(world, f"{second},{first}", current)
    use(world, f"{third},{second},{first}:retired", current)
    with redis.Redis.from_url(world.redis.url) as client:
        client.flushall()
    use(world, fourth, current, KEYSTILE_STAMPS="advisory")
    with KeystileServer(
        world.environment | {"KEYSTILE_PEPPERS": fourth, "KEYSTILE_STAMPS": "advisory"},
        log_path=world.folder / "peppers-last.log",
    ) as server:  # the secret in its grace is proved by bcrypt alone
        world.verify_until(keys[0]["api_key"], 200, meanwhile=(503,), url=server.url)
