"""A file of gates, and the HTTP edge in this process with them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import jwt

from unit.managing import ADMIN_KEY
from unit.served import MCP, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from unit.served import Answered, Client, Prepared

DEFAULT = "http://127.0.0.1:8400/sts/default"
ELSEWHERE = "https://elsewhere.example.com"
METADATA = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp"
PROXY = "10.0.0.1"
PAID = "paid:-/-/-/100"  # a level whose use is counted, though no number of requests is told
GATES = {
    "mcp": f'audience = "{MCP}"',
    "readers": f'audience = "{MCP}"\nscopes = ["read"]',
    "writers": f'audience = "{MCP}"\nscopes = ["read", "write"]',
    "admins": f'audience = "{MCP}"\nscopes = ["read", "admin"]',
    "admins-by-nginx": f'audience = "{MCP}"\nscopes = ["admin"]\nanswers = "nginx"',
    "mcp-by-nginx": f'audience = "{MCP}"\nanswers = "nginx"',
    "described": f'audience = "{MCP}"\nscopes = ["admin"]\nresource_metadata = "{METADATA}"',
    "elsewhere": f'audience = "{ELSEWHERE}"',
    "home": f'audience = "{DEFAULT}"',
    "kept": f'audience = "{MCP}"\ncache = "5s"',
    "by_path": f'audience = "{MCP}"\nmethod_and_path = "path"\ncache = "5s"',
    "renamed": f'audience = "{MCP}"\n[gates.renamed.headers]\nsubject = "X-User"\ntenant = "Remote-Tenant"',
}


@asynccontextmanager
async def gated(prepared: Prepared, folder: Path, **settings: Any) -> AsyncIterator[Client]:  # noqa: ANN401 - any settings
    """Serve a copy of the prepared store, with the gates above."""
    path = folder / "gates.toml"
    path.write_text("\n".join(f"[gates.{name}]\n{fields}\n" for name, fields in GATES.items()))
    more = {"admin_key": ADMIN_KEY, "trusted_proxies": (f"{PROXY}/32",), "levels": PAID, "gates": path, **settings}
    async with serving(prepared, folder, **more) as client:
        yield client


async def ask(client: Client, gate: str, *headers: tuple[str, str], below: str = "", method: str = "GET") -> Answered:
    """Ask that gate as a gateway does."""
    return await client.verify(*headers, method=method, path=f"/sts/gate/{gate}{below}")


def claims_in(answer: Answered) -> dict[str, Any]:
    """Return the claims of the JWT that a gate handed out."""
    token = (answer.header("authorization") or "").removeprefix("Bearer ")
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims
