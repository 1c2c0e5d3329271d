"""An MCP server of the official SDK that takes our JWTs: it knows the issuer and its JWKS, and nothing of Keystile."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import ClassVar

import jwt
from mcp.server import MCPServer
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings
from pydantic import AnyHttpUrl

from stack.ports import LOOPBACK
from stack.server import Server, answers_200

SCOPE = "tools:call"


class McpServer(Server):
    """The server below in a process of its own, beside the authorization server *issuer*."""

    name: ClassVar[str] = "mcp"
    ready_within: ClassVar[float] = 60
    stop_within: ClassVar[float] = 20

    def __init__(self, issuer: str, *, log_path: Path) -> None:
        super().__init__(None, log_path)
        self._issuer = issuer

    @property
    def resource(self) -> str:
        """Its address, which is the audience of the JWTs it takes."""
        return f"http://{LOOPBACK}:{self.port}/mcp"

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "stories.mcp_server", str(self.port), self._issuer]

    def _is_ready(self) -> bool:
        return answers_200(self.port, "/.well-known/oauth-protected-resource/mcp")


class JwksVerifier(TokenVerifier):
    """Checks JWTs as any resource server does: signature by the JWKS, issuer, audience, expiry."""

    def __init__(self, issuer: str, resource: str) -> None:
        self._issuer = issuer
        self._resource = resource
        self._keys = jwt.PyJWKClient(f"{issuer}/jwks.json")

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return what the token grants, None if it is not for this server."""
        try:
            key = await asyncio.to_thread(self._keys.get_signing_key_from_jwt, token)
            claims = jwt.decode(token, key, issuer=self._issuer, audience=self._resource)
        except jwt.PyJWTError:
            return None
        scopes = claims.get("scope", "").split()
        return AccessToken(
            token=token, client_id=claims["client_id"], scopes=scopes, expires_at=claims["exp"], resource=claims["aud"]
        )


def main(port: int, issuer: str) -> None:
    """Serve one tool until told to end."""
    resource = f"http://{LOOPBACK}:{port}/mcp"
    server = MCPServer(
        "story",
        token_verifier=JwksVerifier(issuer, resource),
        auth=AuthSettings(
            issuer_url=AnyHttpUrl(issuer),
            resource_server_url=AnyHttpUrl(resource),
            required_scopes=[SCOPE],
            validate_token_resource=True,
        ),
    )

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    server.run("streamable-http", host=LOOPBACK, port=port)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
