"""What the README shows of MCP, run as it stands there but for ports: server, client, commands, configurations."""

from __future__ import annotations

import http.client
import http.server
import json
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

import pytest

from stack.keystile_server import keystile_command
from stack.ports import LOOPBACK, free_port
from stack.server import Server, answers_200
from stories.mcp_world import call
from stories.world import embedded_world, plain_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

_README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
_SECTION = _README.partition("## MCP servers and clients\n")[2].partition("\n## ")[0]
SUM = {"a": 19, "b": 23}, {"result": 42}


def shown(language: str) -> list[str]:
    """Return the blocks of the section in that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", _SECTION, re.MULTILINE | re.DOTALL)


SERVER, CLIENT = shown("python")
ISSUE, COMMANDS = shown("sh")
HELPER, FIXED = shown("json")


@dataclass
class Place:
    """A folder in which things are typed, with a Keystile and a place for a server."""

    folder: Path
    keystile_port: int
    mcp_port: int

    @property
    def mcp(self) -> str:
        """The server's address."""
        return f"http://{LOOPBACK}:{self.mcp_port}/mcp"

    def here(self, text: str) -> str:
        """Return *text* with the ports of this place."""
        return text.replace("8400", str(self.keystile_port)).replace("8401", str(self.mcp_port))

    def run(self, *words: str) -> str:
        """Run *words* at home in the folder, with our commands at hand; return what is printed."""
        own = {"KEYSTILE_DATA_DIR": "data", "KEYSTILE_PORT": str(self.keystile_port), "HOME": str(self.folder)}
        path = f"{Path(keystile_command()).parent}:/usr/bin:/bin"
        done = subprocess.run(  # noqa: S603 - what the README shows
            words,
            cwd=self.folder,
            env=plain_environment() | own | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def typed(self, text: str) -> str:
        """Type *text* into a shell."""
        return self.run("/bin/sh", "-euc", self.here(text))


class ShownServer(Server):
    """The server of the README."""

    name: ClassVar[str] = "shown"
    ready_within: ClassVar[float] = 60
    stop_within: ClassVar[float] = 20

    def __init__(self, place: Place) -> None:
        super().__init__(place.mcp_port, place.folder / "shown.log")
        self._path = place.folder / "server.py"
        self._path.write_text(place.here(SERVER).replace("mcp.key", str(place.folder / "mcp.key")))

    def _command(self) -> list[str]:
        return [sys.executable, str(self._path)]

    def _is_ready(self) -> bool:
        return answers_200(self.port, "/.well-known/oauth-protected-resource/mcp")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("readme"), free_port(), free_port())
    with embedded_world(made.folder, made.keystile_port, KEYSTILE_DEFAULT_AUDIENCE=made.mcp):
        made.typed(ISSUE)
        with ShownServer(made):
            yield made


def test_the_client_calls_the_server(place: Place) -> None:
    """Both programs as they are shown."""
    (place.folder / "client.py").write_text(place.here(CLIENT))
    assert "{'result': 42}" in place.run(sys.executable, "client.py")


async def test_the_commands_give_what_opens_the_server(place: Place) -> None:
    """`headers` and `token`, as they are typed."""
    headers, token = place.typed(COMMANDS).splitlines()
    for each in (json.loads(headers), {"Authorization": f"Bearer {token}"}):
        assert await call(place.mcp, "add", SUM[0], headers=each) == SUM[1]


async def test_a_tool_that_runs_the_command_is_let_in(place: Place) -> None:
    """The configuration is read, and its command run in a shell, as such a tool does."""
    configured = json.loads(place.here(HELPER))["mcpServers"]["tools"]
    headers = json.loads(place.typed(configured["headersHelper"]))
    assert await call(configured["url"], "add", SUM[0], headers=headers) == SUM[1]


async def test_a_client_with_a_fixed_header_gets_through_a_gateway(place: Place) -> None:
    """The header of the configuration, sent to a gateway that puts a JWT in the key's place."""
    configured = json.loads(FIXED)["mcpServers"]["tools"]
    ((name, value),) = configured["headers"].items()
    assert (name, value) == ("X-API-Key", "mcpkey_live_…")
    key = (place.folder / "agent.key").read_text().strip()
    with gateway(place) as url:
        assert await call(url, "add", SUM[0], headers={name: key}) == SUM[1]
        with pytest.raises(ExceptionGroup):
            await call(url, "add", SUM[0], headers={name: key[:-6] + "AAAAAA"})


@contextmanager
def gateway(place: Place) -> Iterator[str]:
    """Serve what a gateway does: it asks `/sts/verify`, and passes the request on with the JWT and without the key."""

    class Gateway(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept = {name: value for name, value in self.headers.items() if name.lower() != "x-api-key"}
            asked = ask(place.keystile_port, "GET", "/sts/verify", {"X-API-Key": self.headers["X-API-Key"]})
            if asked.status == 200:
                jwt = {"Authorization": asked.headers["Authorization"]}
                asked = ask(place.mcp_port, "POST", urlsplit(place.mcp).path, {**kept, **jwt}, body)
            self.send_response(asked.status)
            for each in ("Content-Type", "Mcp-Session-Id"):
                if each in asked.headers:
                    self.send_header(each, asked.headers[each])
            self.send_header("Content-Length", str(len(asked.body)))
            self.end_headers()
            self.wfile.write(asked.body)

        def do_GET(self) -> None:
            self.send_error(405)  # a stream of its own, which the client can do without

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((LOOPBACK, 0), Gateway) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}/mcp"
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Said:
    """A whole answer."""

    status: int
    headers: Any
    body: bytes


def ask(port: int, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> Said:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=60)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return Said(answer.status, answer.headers, answer.read())
    finally:
        connection.close()
