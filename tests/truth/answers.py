"""One answer as a client saw it, and what is wrong with it whatever the credential."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from truth.lives import Jwt, Key, Stranger, key_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from truth.lives import Credential

NAMING_DOORS = frozenset({"verify", "gate"})  # they say whose key it is in headers
_REFUSALS = {"exchange": frozenset({400, 401})}  # RFC 8693, 2.2.2; elsewhere 401 alone


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. *status* of None: nothing, the connection ended or nobody answered in time.

    *door*: verify, gate, token, exchange, introspect. *headers* have lower-case names. *jwt* is the JWT that the
    answer handed out; *active* what an introspection said. *sent* and *received* are `time.monotonic()`.
    """

    credential: Credential
    door: str
    status: int | None
    sent: float
    received: float
    headers: Mapping[str, str] = field(default_factory=dict)
    jwt: str = ""
    active: bool | None = None

    @property
    def accepts(self) -> bool:
        """Whether the credential was taken for good."""
        return self.status == 200 and self.active is not False

    @property
    def refuses(self) -> bool:
        """Whether the credential was taken for bad."""
        return self.active is False or self.status in _REFUSALS.get(self.door, (401,))

    @property
    def kind(self) -> str:
        """The credential's kind, for counting."""
        match self.credential:
            case Jwt():
                return "jwt"
            case Key():
                return "key"
            case Stranger():
                return self.credential.value

    def mistaken_identity(self) -> str:
        """Return how the answer names another key or owner than was presented, or nothing."""
        key = key_of(self.credential)
        if key is None:
            return ""
        named = self._names() if self.door in NAMING_DOORS else {}
        if self.jwt:
            claims = claims_of(self.jwt)
            named |= {"client_id": (claims.get("client_id"), key.key_id), "sub": (claims.get("sub"), key.owner.subject)}
        wrong = [f"{name} is {was!r}" for name, (was, wanted) in named.items() if wanted and was != wanted]
        return "; ".join(wrong)

    def tells_when_to_retry(self) -> bool:
        """Tell whether there is a Retry-After of a whole second or more (RFC 9110, 10.2.3, without dates)."""
        text = self.headers.get("retry-after", "")
        return text.isascii() and text.isdigit() and int(text) >= 1

    def _names(self) -> dict[str, tuple[str | None, str]]:
        key = key_of(self.credential)
        assert key is not None
        wanted = {"x-auth-key-id": key.key_id, "x-auth-username": key.owner.username}
        wanted["x-auth-subject"] = key.owner.subject
        return {name: (unquote(self.headers.get(name, "")), value) for name, value in wanted.items()}


@lru_cache(maxsize=10_000)
def claims_of(jwt: str) -> dict[str, Any]:
    """Return the claims of *jwt*, unverified: whose it is, not whether it is good."""
    try:
        payload = jwt.split(".")[1]
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, binascii.Error):
        return {}
    return claims
