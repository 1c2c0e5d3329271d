"""A deployment on Keycloak and Redis, with the administrator's console beside it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from keycloak import KeycloakAdmin
from redis import Redis

from keystile.adapters.redis.log import STATE
from stack import KeystileServer
from stack.processes import wait_until
from stories.world import World

if TYPE_CHECKING:
    from pathlib import Path

    from stack import KeycloakServer, RedisServer


_POLLS_WITHIN = 10.0  # seconds


@dataclass(kw_only=True)
class KeycloakWorld(World):
    """A world whose owners are users of a realm."""

    keycloak: KeycloakServer
    redis: RedisServer
    admin: KeycloakAdmin = field(repr=False)

    @classmethod
    def prepare(cls, keycloak: KeycloakServer, redis: RedisServer, folder: Path, environment: dict[str, str]) -> Self:
        """Set a fresh realm up through the command line; the server is not started yet."""
        realm = f"story-{secrets.token_hex(4)}"
        environment = {
            **environment,
            "KEYSTILE_KEYCLOAK_URL": keycloak.url,
            "KEYSTILE_KEYCLOAK_REALM": realm,
            "KEYSTILE_REDIS_URL": redis.url,
        }
        world = cls(
            server=KeystileServer(
                environment, port=int(environment["KEYSTILE_PORT"]), log_path=folder / "keystile.log"
            ),
            environment=environment,
            folder=folder,
            keycloak=keycloak,
            redis=redis,
            admin=_admin(keycloak, realm),
        )
        assert "attribute" in world.set_up()
        world.add_console()
        return world

    def add_console(self) -> None:
        """Create the client by which people sign in to manage keys, and set up once more, now that it is there."""
        clients = self.environment.get("KEYSTILE_API_CLIENTS", "")
        if clients:
            self.admin.create_client({"clientId": clients, "publicClient": True, "directAccessGrantsEnabled": True})
            self.set_up()

    def set_up(self) -> str:
        """Run `keystile keycloak setup` and return what it printed."""
        done = self.cli(
            "keycloak",
            "setup",
            "--create-realm",
            KEYCLOAK_ADMIN_USER=self.keycloak.admin_user,
            KEYCLOAK_ADMIN_PASSWORD=self.keycloak.admin_password,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def add_user(self, prefix: str = "user", **more: Any) -> str:  # noqa: ANN401 - a user's fields
        """Create a user and return its name."""
        username = f"{prefix}-{secrets.token_hex(5)}"
        names = {"email": f"{username}@example.com", "firstName": "Zoë", "lastName": "Quint", "enabled": True}
        self.admin.create_user({"username": username, **names, **more})
        return username

    def user(self, username: str) -> dict[str, Any]:
        """Return a user as the console shows it."""
        user_id = self.admin.get_user_id(username)
        assert user_id is not None, username
        return dict(self.admin.get_user(user_id))

    def wait_for_polls(self) -> None:
        """Wait for three polls: events of what was done until now are heard by all, and void nothing any more.

        The first may have begun before, the second tells of them, and by the third everybody has read what it told.
        """
        with Redis.from_url(self.redis.url) as client:
            for _ in range(3):
                before = client.hget(STATE, "polled")
                assert wait_until(partial(_differs, client, before), _POLLS_WITHIN)

    def mend(self) -> None:
        """Let everything run again."""
        for server in (self.keycloak, self.redis, self.server):
            if server.has_ended():
                server.restart()
            else:
                server.resume()


def _differs(client: Redis, before: object) -> bool:
    return client.hget(STATE, "polled") != before


def _admin(server: KeycloakServer, realm: str) -> KeycloakAdmin:
    return KeycloakAdmin(
        server_url=f"{server.url}/",
        username=server.admin_user,
        password=server.admin_password,
        realm_name=realm,
        user_realm_name="master",
    )
