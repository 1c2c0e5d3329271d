"""Authorization server metadata (RFC 8414), made once from the issuer: nothing of a request goes into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keystile.public_keys import ALGORITHMS

if TYPE_CHECKING:
    from collections.abc import Iterable

_METHODS = ["client_secret_basic", "client_secret_post", "private_key_jwt"]
_ALGORITHMS = list(ALGORITHMS)


def metadata(issuer: str, grant_types: Iterable[str], scopes: Iterable[str], jwks_uri: str) -> dict[str, Any]:
    """Return the metadata document: it lists what exists, and nothing else. *jwks_uri* verifies what we give."""
    document: dict[str, Any] = {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/token",
        "jwks_uri": jwks_uri,
        "authorization_endpoint": f"{issuer}/authorize",  # MCP clients refuse metadata without one
        "response_types_supported": ["code"],
        "grant_types_supported": list(grant_types),
        "token_endpoint_auth_methods_supported": _METHODS,
        "token_endpoint_auth_signing_alg_values_supported": _ALGORITHMS,
        "introspection_endpoint": f"{issuer}/introspect",
        "introspection_endpoint_auth_methods_supported": [*_METHODS, "Bearer"],  # a token type is a value only here
        "introspection_endpoint_auth_signing_alg_values_supported": _ALGORITHMS,
        "revocation_endpoint": f"{issuer}/revoke",
        "revocation_endpoint_auth_methods_supported": _METHODS,
        "revocation_endpoint_auth_signing_alg_values_supported": _ALGORITHMS,
    }
    listed = sorted(scopes)
    return {**document, "scopes_supported": listed} if listed else document


def metadata_paths(issuer_path: str) -> tuple[str, ...]:
    """Return where clients look for the document: RFC 8414, 3.1, and the same and the older way for OpenID's name."""
    return (
        f"/.well-known/oauth-authorization-server{issuer_path}",
        f"/.well-known/openid-configuration{issuer_path}",
        f"{issuer_path}/.well-known/openid-configuration",
    )
