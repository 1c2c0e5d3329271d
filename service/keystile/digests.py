"""The two proofs of a key: its digest under a pepper, and bcrypt over the whole key."""

from __future__ import annotations

import base64
import hmac
import re
from typing import TYPE_CHECKING

import bcrypt

if TYPE_CHECKING:
    from keystile.keys import ApiKey
    from keystile.peppers import Pepper

BCRYPT_COST = 12
# The last character of the salt carries two bits: bcrypt raises on any other than these four.
_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}", re.ASCII)
_COSTS = range(4, 15)  # stored data never chooses the work factor beyond these
_DECOY = "$2b$12$Kx1kS9dDg1bHnR5yN8mJVu7kz5GQ0rPq0K1v1hV0qk5y3m8p2b7cW"


def digest_of(key: ApiKey, pepper: Pepper) -> str:
    """Return the base64url digest (43 characters) of *key* under *pepper*."""
    return base64.urlsafe_b64encode(pepper.proof.digest(key.reveal().encode())).decode().rstrip("=")


def digest_matches(key: ApiKey, pepper: Pepper, digest: str) -> bool:
    """Tell in constant time whether *digest* is that of *key* under *pepper*."""
    return hmac.compare_digest(digest_of(key, pepper).encode(), digest.encode())


def older_hash_of(key: ApiKey, secret: bytes) -> str:
    """Return what older stores keep as `cacheHash`: hex HMAC-SHA256 of the whole key."""
    return hmac.digest(secret, key.reveal().encode(), "sha256").hex()


def bcrypt_hash(key: ApiKey, cost: int = BCRYPT_COST) -> str:
    """Return a bcrypt string over the whole key. Takes 238 ms of a core at cost 12: never on the event loop."""
    return bcrypt.hashpw(key.reveal().encode(), bcrypt.gensalt(cost)).decode()


def bcrypt_is_usable(stored: str) -> bool:
    """Tell whether *stored* is a bcrypt string of a cost we are willing to pay."""
    match = _BCRYPT.fullmatch(stored)
    return match is not None and int(match[1]) in _COSTS


def bcrypt_matches(key: ApiKey, stored: str) -> bool:
    """Tell whether *stored* was made from *key*; an unusable string matches nothing. Never on the event loop."""
    if not bcrypt_is_usable(stored):
        return False
    return bcrypt.checkpw(key.reveal().encode(), stored.encode())


def bcrypt_decoy(key: ApiKey) -> None:
    """Spend what a real bcrypt check would have cost, so that time tells nobody whether the key id exists."""
    bcrypt.checkpw(key.reveal().encode(), _DECOY.encode())
