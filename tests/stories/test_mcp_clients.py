"""The official MCP SDK, unchanged: its client gets a JWT for an API key, its server takes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx2
import pytest
from mcp import Client
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from stories.mcp_server import SCOPE, McpServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any, Literal

    from mcp.client.auth import OAuthClientProvider
    from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

    from stories.world import World


@pytest.fixture
def mcp_server(embedded: World, tmp_path: Path) -> Iterator[McpServer]:
    with McpServer(embedded.issuer, log_path=tmp_path / "mcp.log") as server:
        yield server


class Memory:
    """A token storage, as the SDK wants one."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        """Return what was kept."""
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keep it."""
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """Return nothing: the client knows its id."""
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Fail."""
        raise AssertionError(f"nobody registers {client_info.client_id} here")


async def add(server: McpServer, auth: httpx2.Auth) -> Any:  # noqa: ANN401 - what the tool answers
    """Call the server's tool as the SDK's client does."""
    async with httpx2.AsyncClient(auth=auth) as http:
        transport = streamable_http_client(server.resource, http_client=http)
        async with Client(transport, read_timeout_seconds=20) as client:
            result = await client.call_tool("add", {"a": 19, "b": 23})
            return result.structured_content


def provider(
    world: World,
    server: McpServer,
    key: dict[str, Any],
    method: Literal["client_secret_basic", "client_secret_post"] = "client_secret_basic",
) -> OAuthClientProvider:
    return ClientCredentialsOAuthProvider(
        server_url=server.resource,
        storage=Memory(),
        client_id=key["key_id"],
        client_secret=key["api_key"],
        token_endpoint_auth_method=method,
        scope=SCOPE,
        issuer=world.issuer,
    )


def issue(world: World, server: McpServer) -> dict[str, Any]:
    return world.issue("carol", "agent", "--scope", SCOPE, "--audience", server.resource)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_the_sdk_calls_a_tool_with_a_key(
    embedded: World, mcp_server: McpServer, method: Literal["client_secret_basic", "client_secret_post"]
) -> None:
    """From 401 over the metadata of both servers to a JWT for exactly that resource, and a tool that answers."""
    key = issue(embedded, mcp_server)
    assert await add(mcp_server, provider(embedded, mcp_server, key, method)) == {"result": 42}


async def test_the_sdk_calls_a_tool_with_a_signature(embedded: World, mcp_server: McpServer, tmp_path: Path) -> None:
    """STANDARDS, private_key_jwt: the SDK signs for the issuer alone, and no secret is kept anywhere."""
    private, public = tmp_path / "agent.pem", tmp_path / "agent.jwk"
    made = embedded.cli("keypair", "new", "--private-key", str(private))
    public.write_text(made.stdout)
    allowed = ("--scope", SCOPE, "--audience", mcp_server.resource, "--json")
    kept = embedded.cli(
        "keys", "register", "--owner", "carol", "--name", "agent", "--public-key", str(public), *allowed
    )
    assert kept.returncode == 0, kept.stderr
    key_id = json.loads(kept.stdout)["key_id"]
    signing = SignedJWTParameters(
        issuer=key_id, subject=key_id, signing_key=private.read_text(), signing_algorithm="EdDSA"
    )
    auth = PrivateKeyJWTOAuthProvider(
        server_url=mcp_server.resource,
        storage=Memory(),
        client_id=key_id,
        assertion_provider=signing.create_assertion_provider(),
        scope=SCOPE,
        issuer=embedded.issuer,
    )
    assert await add(mcp_server, auth) == {"result": 42}


async def test_a_jwt_for_another_server_is_worth_nothing(embedded: World, mcp_server: McpServer) -> None:
    """The SDK's server refuses the JWT of the same key for its default audience."""
    token = embedded.exchange(issue(embedded, mcp_server), scope=SCOPE).json()["access_token"]
    answer = httpx2.post(mcp_server.resource, json={}, headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, "resource_metadata=" in answer.headers["www-authenticate"]) == (401, True)


async def test_a_revoked_key_calls_no_tool(embedded: World, mcp_server: McpServer) -> None:
    """The SDK's client is refused its JWT, and says so."""
    key = issue(embedded, mcp_server)
    embedded.revoke(key["key_id"])
    with pytest.raises((MCPError, ExceptionGroup)):
        await add(mcp_server, provider(embedded, mcp_server, key))
