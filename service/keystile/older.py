"""The older form of key records: `key:{id}:{bcrypt}` with `apiKey_{id}_…` attributes beside it.

Read as it is and written back as it is, so that nothing is lost while keys move over. Revoking or rotating
such a key replaces it by a record of the current form.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from keystile.records import KeyRecord, UnreadableRecordError, parse_moment

if TYPE_CHECKING:
    from collections.abc import Mapping

_VALUE = re.compile(r"key:([A-Za-z0-9_-]{1,64}):(\$2[aby]\$.{56})", re.ASCII)
_FIELDS = ("name", "created", "expiresAt", "lastUsed", "cacheHash")
_EPOCH = datetime.fromtimestamp(0, UTC)


def is_older_value(value: str) -> bool:
    """Tell whether an `apiKeys` value is of the older form."""
    return value.startswith("key:")


def older_attribute(key_id: str, field: str) -> str:
    """Return the name of the attribute that holds one *field* of an older key."""
    return f"apiKey_{key_id}_{field}"


def older_attributes(key_id: str) -> tuple[str, ...]:
    """Return the names of all attributes that may stand beside an older value."""
    return tuple(older_attribute(key_id, field) for field in _FIELDS)


def read_older(value: str, attributes: Mapping[str, list[str]]) -> KeyRecord:
    """Read an older value and what stands beside it, or raise an `UnreadableRecordError`."""
    match = _VALUE.fullmatch(value)
    if match is None:
        raise UnreadableRecordError("not key:{id}:{bcrypt}")
    key_id, hashed = match.groups()

    def beside(field: str) -> str:
        values = attributes.get(older_attribute(key_id, field)) or [""]
        return values[0].strip()

    try:
        return KeyRecord(
            key_id=key_id,
            gen=0,
            environment="live",  # the key's own text says which; the record never did
            name=beside("name"),
            bcrypt=hashed,
            issued_at=parse_moment(beside("created")) if beside("created") else _EPOCH,
            expires_at=parse_moment(beside("expiresAt")) if beside("expiresAt") else None,
            older_hash=beside("cacheHash").lower(),
        )
    except ValueError as error:  # an expiry nobody can read must not make a key eternal
        raise UnreadableRecordError(str(error), key_id) from error


def write_older(record: KeyRecord) -> str:
    """Return the `apiKeys` value of a record kept in the older form."""
    return f"key:{record.key_id}:{record.bcrypt}"
