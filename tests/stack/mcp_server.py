"""The example MCP server, which takes JWTs of one Keystile."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, ClassVar

from stack.ports import LOOPBACK
from stack.server import Server, answers_200

if TYPE_CHECKING:
    from pathlib import Path


class McpServer(Server):
    """`keystile.mcp.example` beside the Keystile at *keystile_url*; *key_file* may hold its own API key."""

    name: ClassVar[str] = "mcp"
    ready_within: ClassVar[float] = 60
    stop_within: ClassVar[float] = 20

    def __init__(
        self,
        issuer: str,
        *,
        log_path: Path,
        keystile_url: str = "",
        port: int | None = None,
        key_file: Path | None = None,
    ) -> None:
        super().__init__(port, log_path)
        self._issuer = issuer
        self._keystile_url = keystile_url
        self._key_file = key_file

    @property
    def url(self) -> str:
        """Its address, which is the audience of the JWTs it takes."""
        return f"http://{LOOPBACK}:{self.port}/mcp"

    def _command(self) -> list[str]:
        words = ["--issuer", self._issuer, "--port", str(self.port)]
        words += ["--keystile-url", self._keystile_url] if self._keystile_url else []
        words += ["--introspection-key-file", str(self._key_file)] if self._key_file else []
        return [sys.executable, "-m", "keystile.mcp.example", *words]

    def _is_ready(self) -> bool:
        return answers_200(self.port, "/.well-known/oauth-protected-resource/mcp")
