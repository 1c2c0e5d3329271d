"""Authorization server metadata (RFC 8414), made once from the issuer: nothing of a request goes into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


def metadata(issuer: str, grant_types: Iterable[str], scopes: Iterable[str], jwks_uri: str) -> dict[str, Any]:
    """Return the metadata document: it lists what exists, and nothing else. *jwks_uri* verifies what we give."""
    document: dict[str, Any] = {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/token",
        "jwks_uri": jwks_uri,
        "authorization_endpoint": f"{issuer}/authorize",  # MCP clients refuse metadata without one
        "response_types_supported": ["code"],
        "grant_types_supported": list(grant_types),
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    }
    listed = sorted(scopes)
    return {**document, "scopes_supported": listed} if listed else document
