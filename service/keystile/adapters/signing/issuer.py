"""The local token issuer: signs with prepared keys, checks with PyJWT."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import jwt

from keystile.adapters.signing.jws import JwsSigner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystile.adapters.signing.files import SigningKey

_TYPE = "at+jwt"  # RFC 9068, section 2.1
_REQUIRED = ["iss", "sub", "aud", "exp", "iat", "jti", "client_id", "gen"]


class LocalTokenIssuer:
    """Signs with the first key; checks against all of them, each with its own algorithm only (RFC 8725, 3.1)."""

    def __init__(self, issuer: str, keys: Sequence[SigningKey]) -> None:
        self._issuer = issuer
        self.use(keys)

    def use(self, keys: Sequence[SigningKey]) -> None:
        """Sign with the first of *keys* from now on, and check against all of them and no others."""
        self._signer = JwsSigner(keys[0], {"kid": keys[0].kid, "typ": _TYPE})
        self._kid = keys[0].kid
        self._by_kid = {key.kid: (key, key.private.public_key()) for key in keys}

    @property
    def issuer(self) -> str:
        """See `TokenIssuer.issuer`."""
        return self._issuer

    async def mint(self, claims: dict[str, Any]) -> str:
        """See `TokenIssuer.mint`."""
        return self._signer.sign(claims)

    def maker(self, audience: str) -> str:
        """See `TokenIssuer.maker`."""
        return hashlib.sha256(f"{self._issuer} {audience} {self._kid}".encode()).hexdigest()[:16]

    def verify(self, token: str) -> dict[str, Any] | None:
        """See `TokenIssuer.verify`."""
        try:
            header = jwt.get_unverified_header(token)
            key, public = self._by_kid[header["kid"]]
            if header.get("typ") != _TYPE:
                return None
            return jwt.decode(
                token,
                public,
                algorithms=[key.algorithm],
                issuer=self._issuer,
                options={"require": _REQUIRED, "verify_aud": False},
            )
        except (jwt.PyJWTError, KeyError, TypeError, ValueError):  # hostile input of every kind is just not ours
            return None

    def jwks(self) -> dict[str, Any]:
        """See `TokenIssuer.jwks`."""
        return {"keys": [key.public_jwk for key, _ in self._by_kid.values()]}
