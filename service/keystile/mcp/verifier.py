"""`KeystileTokenVerifier`: what the MCP SDK asks about every token it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import jwt
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings

from keystile.client.keys import key_source
from keystile.mcp.asking import Asking
from keystile.mcp.introspection import Introspection
from keystile.mcp.jwks import Jwks

if TYPE_CHECKING:
    import os
    from collections.abc import Container, Iterable

_MAX_TOKEN = 16_384  # characters
_MAX_BELIEVED = 60.0  # seconds
_LEEWAY = 5  # seconds that two clocks may differ
_NEEDED = ("iss", "sub", "aud", "exp", "iat", "jti", "client_id")
_TYPES = ("at+jwt", "application/at+jwt")  # RFC 9068, section 4: a JWT of another kind is no access token


class KeystileTokenVerifier(TokenVerifier):
    """Takes JWTs that Keystile signed for exactly *resource*, the address of the MCP server as its clients know it.

    Give `auth_settings` to the server too: it enforces the *required_scopes* (403), and publishes the metadata of a
    protected resource (RFC 9728), by which clients find the *issuer*.

    Without *introspection_key* (or the file that holds it) JWTs are checked offline, and one of a revoked key works
    until it ends. With it Keystile is asked, and a yes is believed for *believed_for* seconds. *keystile_url*, as in
    ``http://keystile:8400``, is where this server reaches Keystile, if not at the issuer: the paths are the issuer's.
    Plain http is for loopback, and for hosts in *plain_http*.
    """

    def __init__(
        self,
        issuer: str,
        resource: str,
        *,
        required_scopes: Iterable[str] = (),
        introspection_key: str | None = None,
        introspection_key_file: str | os.PathLike[str] | None = None,
        believed_for: float = 1.0,
        keystile_url: str = "",
        plain_http: Container[str] = (),
    ) -> None:
        self._issuer = issuer
        self._resource = resource
        self._scopes = list(required_scopes)
        reached_at = keystile_url.rstrip("/") + urlsplit(issuer).path if keystile_url else issuer
        self._asking = Asking(reached_at, plain_http)
        self._keys = Jwks(self._asking)
        self._introspection: Introspection | None = None
        if introspection_key is not None or introspection_key_file is not None:
            if not 0 <= believed_for <= _MAX_BELIEVED:
                raise ValueError("believed_for is 0 to 60 seconds: that long a revoked key still works")
            key = key_source(introspection_key, introspection_key_file)
            self._introspection = Introspection(self._asking, key, believed_for)
        self.auth_settings()  # says now what is wrong with the addresses

    def auth_settings(self) -> AuthSettings:
        """Return the settings with which `MCPServer` asks for what this verifier checks, and tells clients of it."""
        settings = AuthSettings.model_validate(
            {
                "issuer_url": self._issuer,
                "resource_server_url": self._resource,
                "required_scopes": self._scopes,
                "validate_token_resource": True,
            }
        )
        if str(settings.resource_server_url) != self._resource:
            # Clients would ask for a JWT for what is published, and the two are compared byte for byte.
            raise ValueError(f"write {settings.resource_server_url}, not {self._resource}")
        return settings

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return what *token* grants, None if it does not count here."""
        claims = await self._claims(token) if len(token) <= _MAX_TOKEN else None
        if claims is None or (self._introspection and not await self._introspection.is_active(token)):
            return None
        return AccessToken(
            token=token,
            client_id=claims["client_id"],
            scopes=claims.get("scope", "").split(),
            expires_at=claims["exp"],
            resource=claims["aud"],
            subject=claims["sub"],
            claims=claims,
        )

    async def close(self) -> None:
        """Close the connections to Keystile."""
        await self._asking.close()

    async def _claims(self, token: str) -> dict[str, Any] | None:
        """Return the claims of a JWT that is good by itself: signature, kind, issuer, audience, times."""
        try:
            header = jwt.get_unverified_header(token)
            key_id = header.get("kid")
            if str(header.get("typ")).lower() not in _TYPES or not isinstance(key_id, str):
                return None
            key = await self._keys.key(key_id)
            claims = key and jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],  # the key's own, whatever the token says
                issuer=self._issuer,
                audience=self._resource,
                leeway=_LEEWAY,
                options={"require": list(_NEEDED)},
            )
        except jwt.PyJWTError:
            return None
        return claims if claims and _is_whole(claims, self._resource) else None


def _is_whole(claims: dict[str, Any], resource: str) -> bool:
    """Tell whether the claims are those of one audience, and texts where they should be."""
    texts = (claims["client_id"], claims["sub"], claims.get("scope", ""))
    return claims["aud"] == resource and isinstance(claims["exp"], int) and all(isinstance(text, str) for text in texts)
