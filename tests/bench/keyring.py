"""Keys in bulk: valid ones with the records a store would hold, and strangers nobody holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from keystile.adapters.keycloak.attributes import padded
from keystile.digests import digest_of
from keystile.keys import KeyFormat
from keystile.peppers import Peppers, new_pepper
from keystile.records import KeyRecord
from keystile.restrictions import Policy

if TYPE_CHECKING:
    from keystile.keys import ApiKey

# Of the length that every bcrypt string has. Nobody asks it: the digest is proof enough.
_BCRYPT = "$2b$12$" + "abcdefghijklmnopqrstu." + "x" * 31
EVERYDAY = Policy(scopes=("tools:read", "tools:call"))


@dataclass(frozen=True, slots=True)
class BulkKey:
    """A key with its record; the owner is named after the key id."""

    key_id: str
    api_key: str
    record: str

    @property
    def owner(self) -> str:
        """The owner's username."""
        return f"owner-{self.key_id}"

    @property
    def lookup(self) -> str:
        """The value that stands for it in `apiKeyLookup`."""
        return padded(self.key_id) or ""


def make_keys(pepper: str, count: int, policy: Policy = EVERYDAY) -> list[BulkKey]:
    """Return *count* live keys under *policy* that *pepper* stamps and proves."""
    peppers = Peppers.parse(pepper)
    keys = KeyFormat(peppers)
    return [_bulk(keys.generate("live"), peppers, policy) for _ in range(count)]


def unknown_keys(pepper: str, count: int) -> list[str]:
    """Return validly stamped keys that nobody holds."""
    keys = KeyFormat(Peppers.parse(pepper))
    return [keys.generate("live").reveal() for _ in range(count)]


def forged_keys(count: int) -> list[str]:
    """Return well-shaped keys under stamps of another deployment's pepper."""
    return unknown_keys(new_pepper("strange"), count)


def _bulk(key: ApiKey, peppers: Peppers, policy: Policy) -> BulkKey:
    now = datetime.now(UTC)
    record = KeyRecord(
        key_id=key.tag,
        gen=1,
        environment="live",
        name="bench",
        bcrypt=_BCRYPT,
        digest=digest_of(key, peppers.current),
        digest_pepper=peppers.current.id,
        stamp_pepper=peppers.current.id,
        issued_by="cli:bench",
        issued_at=now,
        expires_at=now + timedelta(days=365),
        policy=policy,
    )
    return BulkKey(key.tag, key.reveal(), record.to_text())
