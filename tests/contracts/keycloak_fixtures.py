"""Fixtures on a real Keycloak: one server for the whole run, and a realm per module made by Keystile's own set-up."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import pytest
from keycloak import KeycloakAdmin

from keystile.adapters.keycloak.access import AdminAccess, ClientAccess, Credentials
from keystile.adapters.keycloak.client import KeycloakClient
from keystile.adapters.keycloak.directory import KeycloakDirectory
from keystile.adapters.keycloak.setup import setup
from keystile.adapters.keycloak.wanted import WantedRealm
from keystile.adapters.memory.leases import InProcessLeases
from keystile.adapters.redis.leases import RedisLeases
from keystile.adapters.redis.link import RedisLink
from keystile.authority.breaker import Breaker
from keystile.records import KeyRecord
from stack import KeycloakServer
from stack.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from keystile.ports import Leases, OwnerChange
    from keystile.records import Owner


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

    def client(self, credentials: Credentials) -> KeycloakClient:
        """Open a client of the realm."""
        return open_client(self.server.url, self.wanted.realm, credentials, self.alerts.append)

    def directory(
        self, leases: Leases | None = None, *, url: str = "", alert: Callable[[str], None] | None = None
    ) -> AbstractAsyncContextManager[KeycloakDirectory]:
        """Open a directory on the realm, through *url* if it is given."""
        return open_directory(
            url or self.server.url, self.wanted, leases or InProcessLeases(), alert or self.alerts.append
        )

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


def open_client(url: str, realm: str, credentials: Credentials, alert: Callable[[str], None]) -> KeycloakClient:
    """Open a client of a realm."""
    return KeycloakClient(ClientAccess(url=url, realm=realm, client=credentials), alert=alert)


@asynccontextmanager
async def open_directory(
    url: str, wanted: WantedRealm, leases: Leases, alert: Callable[[str], None] = print
) -> AsyncIterator[KeycloakDirectory]:
    """Open a directory on a realm with clients of its own."""
    reader, writer = (open_client(url, wanted.realm, client, alert) for client in (wanted.reader, wanted.writer))
    directory = KeycloakDirectory(reader, writer, leases, alert=alert)
    try:
        yield directory
    finally:
        await directory.close()
        await reader.close()
        await writer.close()


def a_record(**fields: Any) -> KeyRecord:  # noqa: ANN401 - any field
    """Return a live record of a fresh key."""
    issued_at = datetime(2026, 11, 1, 12, 30, 15, tzinfo=UTC)
    record = KeyRecord(
        key_id=secrets.token_hex(6), gen=1, environment="live", name="laptop of Zoë", issued_at=issued_at
    )
    return replace(record, **fields)


def adding(*records: KeyRecord) -> OwnerChange:
    """Return the change that adds these records, or puts them in place of their predecessors."""

    def change(owner: Owner) -> Owner:
        for record in records:
            owner = owner.with_record(record)
        return owner

    return change


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
        self.url = ""
        self.holds = False
        self.held = asyncio.Event()
        self.let_go = asyncio.Event()
        self._server_port = server.port
        self._wires: set[asyncio.Task[Any] | None] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        """Listen on a port of its own."""
        server = await asyncio.start_server(self._connected, LOOPBACK, 0)
        self.url = f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
        yield self
        server.close()
        wires = [wire for wire in self._wires if wire]
        for wire in wires:
            wire.cancel()
        await asyncio.gather(*wires, return_exceptions=True)

    async def _connected(self, here: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        self._wires.add(asyncio.current_task())
        there, out = await asyncio.open_connection(LOOPBACK, self._server_port)
        try:
            await asyncio.gather(self._pump(here, out), self._pump(there, back))
        finally:
            back.close()
            out.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                if self.holds and data.startswith(b"PUT "):
                    self.held.set()
                    await self.let_go.wait()
                sink.write(data)
                await sink.drain()


def add_records(server_url: str, wanted: WantedRealm, redis_url: str, owner_id: str, count: int) -> None:
    """Add *count* records to one owner, all at once, as a process of its own does with its own connections."""
    asyncio.run(_add_records(server_url, wanted, redis_url, owner_id, count))


async def _add_records(server_url: str, wanted: WantedRealm, redis_url: str, owner_id: str, count: int) -> None:
    link = RedisLink.open(redis_url, Breaker("Redis"))
    async with open_directory(server_url, wanted, RedisLeases(link)) as directory:
        await asyncio.gather(*(directory.update(owner_id, adding(a_record())) for _ in range(count)))
    await link.aclose()
