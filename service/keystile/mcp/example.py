"""An MCP server that says who calls: `python -m keystile.mcp.example --help`."""

from __future__ import annotations

import logging
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import Annotated, Any

import typer
from mcp.server import MCPServer
from mcp.server.auth.middleware.auth_context import get_access_token

from keystile.mcp.verifier import KeystileTokenVerifier

SCOPE = "tools:call"
_log = logging.getLogger(__name__)


def example_server(verifier: KeystileTokenVerifier) -> MCPServer[Any]:
    """Return a server with two tools, open to whoever *verifier* lets in."""
    server: MCPServer[Any] = MCPServer("keystile-example", token_verifier=verifier, auth=verifier.auth_settings())

    @server.tool()
    def whoami() -> dict[str, Any]:
        """Say who calls: the owner of the key, the key, its scopes, and who acts for the owner."""
        token = get_access_token()
        if token is None:
            raise PermissionError("nobody gets here without a JWT")
        claims = token.claims or {}
        return {
            "subject": token.subject,
            "key_id": token.client_id,
            "scopes": token.scopes,
            "actor": claims.get("act"),
            "expires_at": token.expires_at,
        }

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    return server


def main(
    issuer: Annotated[str, typer.Option(help="Keystile's issuer, as clients know it.")] = "http://127.0.0.1:8400/sts",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8401,
    resource: Annotated[str, typer.Option(help="Its own address, as clients know it. Default: by the port.")] = "",
    scope: Annotated[str, typer.Option(help="The scope that callers need.")] = SCOPE,
    keystile_url: Annotated[str, typer.Option(help="Where Keystile is reached from here. Default: the issuer.")] = "",
    plain_http: Annotated[list[str] | None, typer.Option(help="A host reached unencrypted beside loopback.")] = None,
    introspection_key_file: Annotated[
        Path | None, typer.Option(help="A file with its own API key: if it is there, Keystile is asked about each JWT.")
    ] = None,
) -> None:
    """Serve two tools, `whoami` and `add`, to whoever has a JWT for this address."""
    asks = introspection_key_file is not None and introspection_key_file.exists()
    verifier = KeystileTokenVerifier(
        issuer,
        resource or f"http://127.0.0.1:{port}/mcp",
        required_scopes=[scope],
        introspection_key_file=introspection_key_file if asks else None,
        keystile_url=keystile_url,
        plain_http=plain_http or (),
    )
    server = example_server(verifier)
    _log.warning("a revoked key ends %s", "at its next call" if asks else "with its JWT: there is no key to ask with")
    server.run("streamable-http", host=host, port=port)


if __name__ == "__main__":
    typer.run(main)
