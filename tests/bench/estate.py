"""Deployments on Keycloak, PostgreSQL and Redis: one with 100 users, one with 100,000, started when asked for.

They stand for three machines: Keystile has the server core to itself; what it asks shares the other core with the load.
"""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from keycloak import KeycloakOpenID

from bench import crowd, wire, wrk
from bench.keyring import BulkKey, make_keys
from bench.machine import BOTH, LOAD_CORE, SERVER_CORE, pin
from keystile.peppers import new_pepper
from stack import KeycloakServer, PostgresServer, RedisServer, StackError
from stack.ports import free_port
from stories.keycloak_world import KeycloakWorld

if TYPE_CHECKING:
    from pathlib import Path

    from stack import KeystileServer

FEW, MANY = 100, 100_000
_HEAP = 1024  # megabytes
_WARM_KEYS = 500
_WARM = 15  # seconds of load until Java's compiler has seen a query


@dataclass(frozen=True, slots=True)
class Site:
    """One deployment; `world.server` is its Keystile."""

    world: KeycloakWorld
    postgres: PostgresServer
    database: str

    @property
    def server(self) -> KeystileServer:
        """Its Keystile."""
        return self.world.server

    @property
    def pepper(self) -> str:
        """Its current pepper."""
        return self.world.environment["KEYSTILE_PEPPERS"]

    @property
    def realm(self) -> str:
        """Its realm."""
        return self.world.environment["KEYSTILE_KEYCLOAK_REALM"]

    def add_keys(self, count: int) -> list[BulkKey]:
        """Put that many keys into Keycloak, each of a user of its own; no cache knows them."""
        keys = make_keys(self.pepper, count)
        crowd.add_owners(self.postgres, self.database, self.realm, keys)
        return keys

    def query(self, key: BulkKey, token: str) -> bytes:
        """Return the indexed query for *key* as Keycloak is asked it."""
        path = f"/admin/realms/{self.realm}/users?briefRepresentation=false&q=apiKeyLookup:{key.lookup}&max=2"
        host = self.world.keycloak.url.removeprefix("http://")  # whole: it is part of the issuer of the token
        return wire.get(path, Host=host, Authorization=f"Bearer {token}")

    def reader_token(self) -> str:
        """Return a fresh token of the reader; it lives for a minute."""
        return str(KeycloakOpenID(**self.reader()).token(grant_type="client_credentials")["access_token"])

    def reader(self) -> dict[str, Any]:
        """Return how python-keycloak reaches the realm as Keystile's reader."""
        return {
            "server_url": f"{self.world.keycloak.url}/",
            "realm_name": self.realm,
            "client_id": "keystile-reader",
            "client_secret_key": self.world.environment["KEYSTILE_KEYCLOAK_READER_SECRET"],
        }

    def warm_up(self) -> None:
        """Ask Keycloak the indexed query until Java has compiled what answers it; raises `StackError`."""
        keys = self.add_keys(_WARM_KEYS)
        token = self.reader_token()
        load = wrk.drive(self.world.keycloak.port, [self.query(key, token) for key in keys], _WARM, *BOTH)
        if set(load.statuses) != {"200"}:  # no row's fault: nothing can be measured here
            raise StackError(f"Keycloak does not answer its reader: {load.statuses}")

    def pin(self) -> None:
        """Put each server on its core, as it is after a start."""
        pin(self.server, SERVER_CORE)
        for each in (self.world.keycloak, self.world.redis, self.postgres):
            pin(each, LOAD_CORE)


class Estate:
    """The deployments in *folder*; `with` ends them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()

    @cached_property
    def small(self) -> Site:
        """The one with 100 users."""
        return self._site("small", FEW)

    @cached_property
    def large(self) -> Site:
        """The one with 100,000 users."""
        return self._site("large", MANY)

    @cached_property
    def _postgres(self) -> PostgresServer:
        return self._stack.enter_context(PostgresServer(self._folder / "postgresql"))

    def _site(self, name: str, users: int) -> Site:
        folder = self._folder / name
        database = self._postgres.create_database(name)
        keycloak = KeycloakServer(folder / "keycloak", database=database, heap=_HEAP, long_lived=True)
        self._stack.enter_context(keycloak)
        redis = self._stack.enter_context(RedisServer(folder / "redis"))
        world = KeycloakWorld.prepare(keycloak, redis, folder, _settings(folder))
        site = Site(world, self._postgres, name)
        crowd.add_strangers(site.postgres, name, site.realm, users)
        site.warm_up()
        self._stack.enter_context(world.server)
        site.pin()
        return site

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()


def _settings(folder: Path) -> dict[str, str]:
    port = free_port()
    return {
        "KEYSTILE_STORE": "keycloak",
        "KEYSTILE_DATA_DIR": str(folder / "data"),
        "KEYSTILE_PORT": str(port),
        "KEYSTILE_ISSUER": f"http://127.0.0.1:{port}/sts",
        "KEYSTILE_PEPPERS": new_pepper("p1"),
        **{
            f"KEYSTILE_KEYCLOAK_{client}_SECRET": secrets.token_urlsafe(24) for client in ("READER", "WRITER", "TOKENS")
        },
    }
