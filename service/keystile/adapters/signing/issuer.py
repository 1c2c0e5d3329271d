"""The local token issuer: signs with prepared keys, checks with PyJWT."""

from __future__ import annotations

import hashlib
from functools import lru_cache
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
        signers = [JwsSigner(key, {"kid": key.kid, "typ": _TYPE}) for key in keys]
        self._signer = signers[0]
        self._kid = keys[0].kid
        self._by_kid = {key.kid: (key, key.private.public_key()) for key in keys}
        self._kids = frozenset(self._by_kid)
        self._by_header = {signer.header: self._by_kid[key.kid] for signer, key in zip(signers, keys, strict=True)}

    @property
    def issuer(self) -> str:
        """See `TokenIssuer.issuer`."""
        return self._issuer

    @property
    def kids(self) -> frozenset[str]:
        """See `TokenIssuer.kids`."""
        return self._kids

    async def mint(self, claims: dict[str, Any]) -> str:
        """See `TokenIssuer.mint`."""
        return self._signer.sign(claims)

    def maker(self, audience: str) -> str:
        """See `TokenIssuer.maker`."""
        return _maker(self._issuer, audience, self._kid)

    def verify(self, token: str) -> dict[str, Any] | None:
        """See `TokenIssuer.verify`."""
        try:
            # A JWT made here has one of these headers, letter for letter: nothing has to be read to know its key.
            key, public = self._by_header.get(token.partition(".")[0]) or self._named_by(token)
            return jwt.decode(
                token,
                public,
                algorithms=[key.algorithm],
                issuer=self._issuer,
                options={"require": _REQUIRED, "verify_aud": False},
            )
        except (jwt.PyJWTError, KeyError, TypeError, ValueError):  # hostile input of every kind is just not ours
            return None

    def _named_by(self, token: str) -> tuple[SigningKey, Any]:
        header = jwt.get_unverified_header(token)
        if header.get("typ") != _TYPE:
            raise KeyError("typ")
        return self._by_kid[header["kid"]]

    def jwks(self) -> dict[str, Any]:
        """See `TokenIssuer.jwks`."""
        return {"keys": [key.public_jwk for key, _ in self._by_kid.values()]}


@lru_cache(maxsize=256)
def _maker(issuer: str, audience: str, kid: str) -> str:
    return hashlib.sha256(f"{issuer} {audience} {kid}".encode()).hexdigest()[:16]
