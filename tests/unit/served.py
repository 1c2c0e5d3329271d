"""The whole HTTP edge in this process: a front over an embedded store that holds keys in every state."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from keystile.adapters.sqlite.database import SqliteDatabase
from keystile.adapters.sqlite.directory import SqliteDirectory
from keystile.authority.lifecycle import KeyRequest
from keystile.http.front import Front
from keystile.keys import KeyFormat, make_stamp
from keystile.records import Owner, RevocationReason, Status
from keystile.restrictions import Policy
from keystile.settings import Settings
from keystile.wiring import load_peppers, open_deployment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from keystile.assembly import Deployment
    from keystile.peppers import Peppers

MCP = "https://mcp.example.com/mcp"
FORM = ("Content-Type", "application/x-www-form-urlencoded")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
GOOD = Policy(scopes=("read", "write"), audiences=(MCP,))
POLICIES = {
    "server": Policy(scopes=("introspect",), audiences=(MCP,)),
    "another_server": Policy(scopes=("introspect", "read"), audiences=("https://another.example.com",)),
    "manager": Policy(scopes=("keys:read",)),
    "bound": Policy(scopes=("read",), audiences=(MCP,), allowed_ips=("192.0.2.1/32",)),
    "limited": Policy(scopes=("read",), audiences=(MCP,), requests_per_hour=1),
}
REFUSED = ("malformed", "forged", "unknown", "wrong_secret", "suspended", "revoked", "expired", "owner_disabled")


def settings_in(folder: Path, **changes: Any) -> Settings:  # noqa: ANN401 - any settings
    return Settings(**{"data_dir": folder, "signing_alg": "ES256", **changes})


@dataclass(frozen=True)
class Prepared:
    """A folder with an embedded store, and the texts of its keys by the state they are in."""

    folder: Path
    keys: dict[str, str]


def prepare(folder: Path) -> Prepared:
    """Make the store: one good key, and one for every reason to refuse."""
    return Prepared(folder, asyncio.run(_prepare(folder)))


async def _prepare(folder: Path) -> dict[str, str]:
    settings = settings_in(folder)
    keys: dict[str, str] = {}
    async with open_deployment(settings) as deployment:
        for state in ("good", "suspended", "revoked", "expired", "owner_disabled", "other", *POLICIES):
            keys[state] = await _issue(deployment, state)
        revoked = keys["revoked"].split("_")[2]
        await deployment.lifecycle.revoke(revoked, reason=RevocationReason.UNSPECIFIED, revoked_by="test")
    await _spoil(folder, keys)
    peppers = load_peppers(settings)
    keys["unknown"] = KeyFormat(peppers).generate("live").reveal()
    keys["forged"] = keys["good"][:-6] + "AAAAAA"
    keys["malformed"] = "mcpkey_live_short"
    keys["wrong_secret"] = _with_secret_of(keys["unknown"], keys["good"], peppers)
    return keys


async def _issue(deployment: Deployment, state: str) -> str:
    policy = GOOD if state == "good" else POLICIES.get(state, Policy())
    request = KeyRequest(owner=f"owner of {state}", name=state, issued_by="test", policy=policy)
    return (await deployment.lifecycle.issue(request)).key.reveal()


async def _spoil(folder: Path, keys: dict[str, str]) -> None:
    database = SqliteDatabase(folder / "keystile.db")
    await database.open()
    directory = SqliteDirectory(database)
    changes: dict[str, dict[str, Any]] = {
        "suspended": {"status": Status.SUSPENDED},
        "expired": {"expires_at": LONG_AGO},
    }
    for state, fields in changes.items():
        (owner,) = await directory.find(keys[state].split("_")[2])

        def change(current: Owner, fields: dict[str, Any] = fields) -> Owner:
            return current.with_record(replace(current.records[0], **fields))

        await directory.update(owner.id, change)
    (owner,) = await directory.find(keys["owner_disabled"].split("_")[2])
    await directory.set_enabled(owner.id, enabled=False)
    await database.close()


def _with_secret_of(secret: str, key: str, peppers: Peppers) -> str:
    body = key[:25] + secret[25:57]
    return body + make_stamp(peppers.current, body.encode())


@dataclass(frozen=True)
class Answered:
    """A whole answer."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the one header of that name, None without it."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} twice"
        return values[0] if values else None

    def json(self) -> Any:  # noqa: ANN401 - JSON
        """Return the body's document."""
        content_type = self.header("content-type") or ""
        assert content_type.split(";")[0] in ("application/json", "application/jwk-set+json"), content_type
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    """Sends requests straight into the application."""

    front: Front
    keys: dict[str, str]

    async def send(
        self,
        method: str,
        path: str,
        headers: Iterable[tuple[str, str]] = (),
        chunks: Iterable[bytes] = (),
        *,
        query: str = "",
        peer: str = "192.0.2.1",
        raw_path: str = "",
    ) -> Answered:
        """Send one request, its body in *chunks*, and return the answer; *raw_path* is *path* before it was decoded."""
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": (raw_path or path).encode("latin-1", "replace"),
            "query_string": query.encode("latin-1"),
            "root_path": "",
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
            "client": (peer, 50_000),
            "server": ("127.0.0.1", 8400),
        }
        sent: list[Any] = []
        to_come = [*chunks] or [b""]

        async def receive() -> dict[str, Any]:
            if not to_come:
                await asyncio.Event().wait()  # the client waits for its answer
            return {"type": "http.request", "body": to_come.pop(0), "more_body": bool(to_come)}

        async def send(message: Any) -> None:  # noqa: ANN401 - ASGI's
            sent.append(message)

        await self.front(scope, receive, send)
        start, *bodies = sent
        decoded = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"])
        return Answered(start["status"], decoded, b"".join(message.get("body", b"") for message in bodies))

    async def token(
        self, *headers: tuple[str, str], path: str = "/sts/token", query: str = "", **form: str
    ) -> Answered:
        """Post a form to the token endpoint, with the grant unless it is named."""
        body = urlencode({"grant_type": "client_credentials", **form}).encode()
        return await self.send("POST", path, [FORM, *headers], [body], query=query)

    async def introspect(self, token: str, *headers: tuple[str, str], by: str = "server", **form: str) -> Answered:
        """Ask about a token, as that resource server unless *headers* say who asks."""
        body = urlencode({"token": token, **form}).encode()
        known = [] if any(name == "Authorization" for name, _ in headers) else [bearer(self.keys[by])]
        return await self.send("POST", "/sts/introspect", [FORM, *known, *headers], [body])

    async def revoke(self, token: str, *, by: str = "good", **form: str) -> Answered:
        """Ask to end a token, as the holder of that key."""
        body = urlencode({"token": token, **form}).encode()
        return await self.send("POST", "/sts/revoke", [FORM, bearer(self.keys[by])], [body])

    async def jwt(self, key: str = "good", **form: str) -> str:
        """Return a JWT of that key."""
        return str((await self.token(bearer(self.keys[key]), **form)).json()["access_token"])

    async def verify(self, *headers: tuple[str, str], method: str = "GET", path: str = "/sts/verify") -> Answered:
        """Ask the gateway's question."""
        return await self.send(method, path, headers)


def basic(client_id: str, secret: str) -> tuple[str, str]:
    return ("Authorization", "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode())


def bearer(text: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {text}")


def key_id(text: str) -> str:
    return text.split("_")[2] if text.count("_") > 2 else ""


@asynccontextmanager
async def serving(prepared: Prepared, folder: Path, **settings: Any) -> AsyncIterator[Client]:  # noqa: ANN401 - any settings
    """Serve a copy of the prepared store, start-up and shutdown included."""
    shutil.copytree(prepared.folder, folder, dirs_exist_ok=True)
    front = Front(settings_in(folder, **settings))
    told: asyncio.Queue[Any] = asyncio.Queue()
    tell: asyncio.Queue[Any] = asyncio.Queue()
    life = asyncio.create_task(front({"type": "lifespan"}, tell.get, told.put))
    await tell.put({"type": "lifespan.startup"})
    assert (await told.get())["type"] == "lifespan.startup.complete"
    try:
        yield Client(front, prepared.keys)
    finally:
        await tell.put({"type": "lifespan.shutdown"})
        await life
    assert told.get_nowait()["type"] == "lifespan.shutdown.complete"
