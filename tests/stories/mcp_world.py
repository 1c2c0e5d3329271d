"""An embedded deployment with the example MCP server beside it, which asks about each JWT."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from keystile.mcp.example import SCOPE
from stack import McpServer
from stack.files import write_private
from stack.ports import LOOPBACK, free_port
from stories.world import World, embedded_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANOTHER = "https://another.example.com/mcp"


@dataclass(frozen=True)
class McpWorld:
    """A Keystile and an MCP server; what `/sts/verify` mints is for the latter too."""

    keystile: World
    mcp: McpServer

    def issue(self, name: str = "agent", *options: str) -> dict[str, Any]:
        """Issue a key that may call tools here, and elsewhere."""
        allowed = ("--scope", SCOPE, "--scope", "read", "--audience", self.mcp.url, "--audience", ANOTHER)
        return self.keystile.issue("carol", name, *allowed, *options)

    def jwt(self, key: dict[str, Any], resource: str = "", scope: str = SCOPE) -> str:
        """Return a JWT of that key, for this server and tools unless another is named."""
        answer = self.keystile.exchange(key, resource=resource or self.mcp.url, scope=scope)
        return str(answer.json()["access_token"])


@contextmanager
def mcp_world(folder: Path) -> Iterator[McpWorld]:
    """Serve both, with a key of its own for the MCP server."""
    port = free_port()
    mcp = McpServer(f"http://{LOOPBACK}:{port}/sts", log_path=folder / "mcp.log", key_file=folder / "mcp.key")
    settings = {"KEYSTILE_DEFAULT_AUDIENCE": mcp.url, "KEYSTILE_MAX_KEYS_PER_OWNER": "50"}
    with embedded_world(folder, port, **settings) as keystile:
        own = keystile.issue("shop", "mcp", "--scope", "introspect", "--audience", mcp.url)
        write_private(folder / "mcp.key", own["api_key"])
        with mcp:
            yield McpWorld(keystile, mcp)


async def call(url: str, tool: str, arguments: dict[str, Any] | None = None, **client: Any) -> Any:  # noqa: ANN401
    """Call a tool as the SDK's client does, over an httpx2 client made with these words; return what it answers."""
    async with httpx2.AsyncClient(**client) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, read_timeout_seconds=60) as opened:
            return (await opened.call_tool(tool, arguments or {})).structured_content


def knock(url: str, token: str) -> httpx2.Response:
    """Begin to talk to the server with that JWT, as a client without a library would."""
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "bare", "version": "1"}}
    return httpx2.post(
        url,
        json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        headers={"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"},
    )
