"""Signatures this process has checked already: the same JWT is presented again and again in its few minutes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keystile.ports import Clock, TokenIssuer

MOST = 10_000


class KnownJwts:
    """A `TokenIssuer` that remembers what another one verified: claims by the SHA-256 of the JWT, never the JWT itself.

    A signature that was good stays good as long as the keys are the same; `exp` is compared each time, and everything
    that can end a JWT before it is asked elsewhere each time. At most *most* are kept, the oldest goes first.
    """

    def __init__(self, tokens: TokenIssuer, *, clock: Clock, most: int = MOST) -> None:
        self._tokens = tokens
        self._clock = clock
        self._most = most
        self._claims: dict[bytes, dict[str, Any]] = {}
        self._kids = tokens.kids
        self.mint = tokens.mint
        self.maker = tokens.maker
        self.jwks = tokens.jwks

    @property
    def issuer(self) -> str:
        """See `TokenIssuer.issuer`."""
        return self._tokens.issuer

    @property
    def kids(self) -> frozenset[str]:
        """See `TokenIssuer.kids`."""
        return self._tokens.kids

    def verify(self, token: str) -> dict[str, Any] | None:
        """See `TokenIssuer.verify`. The claims are everybody's: nobody changes them."""
        name = hashlib.sha256(token.encode(errors="replace")).digest()
        if self._tokens.kids is not self._kids:  # a key may have been taken away because it leaked
            self._claims.clear()
            self._kids = self._tokens.kids
        claims = self._claims.get(name)
        if claims is None:
            return self._verify(token, name)
        return claims if self._clock().timestamp() < claims["exp"] else None

    def _verify(self, token: str, name: bytes) -> dict[str, Any] | None:
        claims = self._tokens.verify(token)
        if claims is not None:
            if len(self._claims) >= self._most:
                del self._claims[next(iter(self._claims))]
            self._claims[name] = claims
        return claims
