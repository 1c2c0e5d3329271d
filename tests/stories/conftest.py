"""Deployments for the stories: one embedded, one on Keycloak and Redis, each with a running server."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from keystile.peppers import new_pepper
from stack import RedisServer
from stack.ports import free_port
from stories.api import ADMIN_KEY, CONSOLE
from stories.keycloak_world import KeycloakWorld
from stories.world import World, embedded_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stack import KeycloakServer


@pytest.fixture
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Serve an embedded store of the test's own."""
    with embedded_world(tmp_path_factory.mktemp("embedded")) as world:
        yield world


@pytest.fixture(scope="session")
def story_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run the Redis of the stories: nobody else empties it."""
    with RedisServer(tmp_path_factory.mktemp("story-redis")) as server:
        yield server


@pytest.fixture(scope="module")
def own_story_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run a Redis for one more deployment: two that share one take each other's changes for forgeries."""
    with RedisServer(tmp_path_factory.mktemp("own-redis")) as server:
        yield server


@pytest.fixture(scope="session")
def story_world(
    keycloak_server: KeycloakServer, story_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KeycloakWorld]:
    """Serve one deployment on Keycloak and Redis to all stories, set up by `keystile keycloak setup`."""
    folder = tmp_path_factory.mktemp("world")
    world = KeycloakWorld.prepare(keycloak_server, story_redis, folder, make_environment(folder))
    with world.server:
        yield world


@pytest.fixture
def world(story_world: KeycloakWorld) -> Iterator[KeycloakWorld]:
    """Return the deployment, whole again after tests that break its servers."""
    yield story_world
    story_world.mend()


def make_environment(folder: object) -> dict[str, str]:
    """Return settings that every Keycloak world shares."""
    port = free_port()
    return {
        "KEYSTILE_STORE": "keycloak",
        "KEYSTILE_DATA_DIR": f"{folder}/data",
        "KEYSTILE_AUDIT_LOG": f"{folder}/audit.log",
        "KEYSTILE_PORT": str(port),
        "KEYSTILE_ISSUER": f"http://127.0.0.1:{port}/sts",
        "KEYSTILE_PEPPERS": new_pepper("p1"),
        "KEYSTILE_OLDER_KEYS": "true",
        "KEYSTILE_OLDER_HMAC_SECRET": secrets.token_urlsafe(32),
        "KEYSTILE_FAILURES_PER_MINUTE": "1000",
        "KEYSTILE_ADMIN_KEY": ADMIN_KEY,
        "KEYSTILE_API_CLIENTS": CONSOLE,
        **{f"KEYSTILE_KEYCLOAK_{role}_SECRET": secrets.token_urlsafe(24) for role in ("READER", "WRITER", "TOKENS")},
    }
