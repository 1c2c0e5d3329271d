"""Fixtures on a real Keycloak: one server for the whole run, and a realm per module made by Keystile's own set-up."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from keycloak import KeycloakAdmin

from keystile.adapters.keycloak.access import AdminAccess, ClientAccess, Credentials
from keystile.adapters.keycloak.client import KeycloakClient
from keystile.adapters.keycloak.directory import KeycloakDirectory
from keystile.adapters.keycloak.setup import setup
from keystile.adapters.keycloak.wanted import WantedRealm
from keystile.adapters.memory.leases import InProcessLeases
from stack import KeycloakServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from keystile.ports import Leases


@dataclass
class Realm:
    """A realm that is set up, and an administrator at its console (`admin` blocks, as people do)."""

    server: KeycloakServer
    wanted: WantedRealm
    alerts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.access = AdminAccess(url=self.server.url, user=self.server.admin_user, password=self.server.admin_password)
        self.admin = KeycloakAdmin(
            server_url=f"{self.access.url}/",
            username=self.access.user,
            password=self.access.password,
            realm_name=self.wanted.realm,
            user_realm_name="master",
        )

    def set_up(self) -> list[str]:
        """Run set-up, from inside a running event loop too."""
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, setup(self.access, self.wanted)).result()

    def add_user(self, **more: object) -> str:
        """Create a user of a fresh name with names, e-mail and *more*; return the id."""
        username = f"user-{secrets.token_hex(6)}"
        user = {"username": username, "email": f"{username}@example.com", "firstName": "Zoë", "lastName": "Quint"}
        return str(self.admin.create_user({"enabled": True, **user, **more}))

    def client(self, credentials: Credentials, url: str = "") -> KeycloakClient:
        """Open a client of the realm, through *url* if it is given."""
        access = ClientAccess(url=url or self.server.url, realm=self.wanted.realm, client=credentials)
        return KeycloakClient(access, alert=self.alerts.append)

    @asynccontextmanager
    async def directory(
        self, leases: Leases | None = None, *, url: str = "", alert: Callable[[str], None] | None = None
    ) -> AsyncIterator[KeycloakDirectory]:
        """Open a directory on the realm, through *url* if it is given."""
        reader, writer = self.client(self.wanted.reader, url), self.client(self.wanted.writer, url)
        directory = KeycloakDirectory(
            reader, writer, leases or InProcessLeases(), alert=alert or self.alerts.append
        )
        try:
            yield directory
        finally:
            await directory.close()
            await reader.close()
            await writer.close()

    def change_profile(self, **changes: Any) -> None:  # noqa: ANN401 - JSON
        """Change top-level fields of the user profile; None takes one away."""
        profile = self.admin.get_realm_users_profile() | changes
        self.admin.update_realm_users_profile({name: value for name, value in profile.items() if value is not None})


@pytest.fixture(scope="session")
def keycloak_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeycloakServer]:
    """Run one Keycloak for all tests that leave it as it was; realms are theirs to spoil."""
    with KeycloakServer(tmp_path_factory.mktemp("keycloak"), database="dev-mem") as server:
        yield server


@pytest.fixture(scope="module")
def shared_realm(keycloak_server: KeycloakServer) -> Realm:
    """Set a fresh realm up for the tests of one module."""
    return make_realm(keycloak_server)


@pytest.fixture
def realm(shared_realm: Realm) -> Realm:
    """Return the module's realm, with no alerts yet."""
    shared_realm.alerts.clear()
    return shared_realm


@pytest.fixture
def own_realm(keycloak_server: KeycloakServer) -> Realm:
    """Set a realm up for this test alone, to spoil."""
    return make_realm(keycloak_server)


def make_realm(server: KeycloakServer) -> Realm:
    """Return a fresh realm, made and set up by Keystile itself."""
    reader, writer, tokens = (
        Credentials(id=f"keystile-{name}", secret=secrets.token_urlsafe(24)) for name in ("reader", "writer", "tokens")
    )
    name = f"realm-{secrets.token_hex(4)}"
    wanted = WantedRealm(realm=name, reader=reader, writer=writer, tokens=tokens, create_realm=True, older_keys=True)
    realm = Realm(server, wanted)
    realm.set_up()
    return realm


class Relay:
    """A wire to Keycloak (`url`) on which a PUT can be held back after it was sent, and let go later."""

    def __init__(self, server: KeycloakServer) -> None:
        self._server_port = server.port
        self.holds = False
        self.held = asyncio.Event()
        self.let_go = asyncio.Event()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        """Listen on a port of its own."""
        async with asyncio.TaskGroup() as self._pumps:
            server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield self
            server.close()
            for pump in self._all_pumps:
                pump.cancel()

    async def _connected(self, here: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        there, out = await asyncio.open_connection("127.0.0.1", self._server_port)
        
