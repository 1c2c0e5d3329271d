"""What may be shown of a key, by the command line and the management API alike: never a hash, never a digest."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from keystile.records import format_moment

if TYPE_CHECKING:
    from datetime import datetime

    from keystile.records import KeyRecord, Owner


def key_document(owner: Owner, record: KeyRecord, now: datetime) -> dict[str, Any]:
    """Return what is shown of a key; the fields of its policy stand beside the others."""
    policy = record.policy
    document: dict[str, Any] = {
        "key_id": record.key_id,
        "name": record.name,
        "owner": owner.username,
        "owner_id": owner.id,
        "status": status_of(record, now),
        "environment": record.environment,
        "scopes": list(policy.scopes),
        "audiences": list(policy.audiences),
        "projects": list(policy.projects),
        "issued_at": format_moment(record.issued_at),
        "issued_by": record.issued_by or None,
        "expires_at": format_moment(record.expires_at) if record.expires_at else None,
        "gen": record.gen,
    }
    document |= {name: value for name, value in policy.to_document().items() if name not in document}
    if record.public_key is not None:
        document["algorithm"] = record.public_key.algorithm
        document["fingerprint"] = record.public_key.fingerprint
    if record.rotated_by:
        document["rotated_by"] = record.rotated_by
    graces = [secret for secret in record.earlier if now < secret.ends_at]
    if graces:
        document["old_secret_ends_at"] = format_moment(max(secret.ends_at for secret in graces))
    if record.suspended_by and not record.suspended_by.startswith("#"):
        document["suspended_by"] = record.suspended_by
    if record.revoked_at:
        document["revoked_at"] = format_moment(record.revoked_at)
        document["revoked_reason"] = record.revoked_reason
    return document


def status_of(record: KeyRecord, now: datetime) -> str:
    """Return active, suspended, revoked or expired."""
    return "expired" if not record.is_dead and record.is_expired(now) else record.status.value


def etag_of(record: KeyRecord) -> str:
    """Return the strong entity tag of a record (RFC 9110, 8.8.3): another one after any change."""
    return f'"{hashlib.sha256(record.to_text().encode()).hexdigest()[:32]}"'
