"""A realm in this process that signs tokens for keys: what it knows is told by the test."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import jwt

from keystile.errors import CannotTellError, KeyRefusedError, Reason
from keystile.ports import SignedToken

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_SECRET = secrets.token_hex(32)


@dataclass
class ToldSigner:
    """A `RealmSigner` that can be *down*; it counts what it signs, and remembers what it was told to revoke."""

    audiences: Collection[str]
    scopes: Collection[str]
    clock: Callable[[], float] = time.time
    ttl: int = 300
    down: bool = False
    out: set[str] = field(default_factory=set)
    signed: int = 0
    revoked: list[str] = field(default_factory=list)

    async def sign(self, owner_id: str, audience: str, scopes: tuple[str, ...]) -> SignedToken:
        """Sign what is asked for."""
        self._reach()
        if audience not in self.audiences:
            raise KeyRefusedError(Reason.AUDIENCE_DENIED)
        if not set(scopes) <= set(self.scopes):
            raise KeyRefusedError(Reason.SCOPE_DENIED)
        if owner_id in self.out:
            raise KeyRefusedError(Reason.OWNER_DISABLED)
        self.signed += 1
        now = int(self.clock())
        claims = {"sub": owner_id, "aud": audience, "scope": " ".join(scopes), "iat": now, "exp": now + self.ttl}
        text = jwt.encode({**claims, "jti": secrets.token_hex(8)}, _SECRET)
        return SignedToken(text, now, now + self.ttl)

    async def revoke(self, token: str) -> None:
        """Remember it."""
        self._reach()
        self.revoked.append(token)

    def is_active(self, token: str) -> bool:
        """Tell what an introspection would say."""
        owner = jwt.decode(token, options={"verify_signature": False})["sub"]
        return token not in self.revoked and owner not in self.out

    def _reach(self) -> None:
        if self.down:
            raise CannotTellError("the realm is down")
