"""What commands print: one JSON document on standard output, or lines and tables for people."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from keystile.records import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keystile.records import KeyRecord, Owner


def key_document(owner: Owner, record: KeyRecord) -> dict[str, Any]:
    """Return what may be shown of a key: never a hash, never a digest."""
    document: dict[str, Any] = {
        "key_id": record.key_id,
        "name": record.name,
        "owner": owner.username,
        "status": status_of(record),
        "environment": record.environment,
        "scopes": list(record.policy.scopes),
        "audiences": list(record.policy.audiences),
        "projects": list(record.policy.projects),
        "issued_at": format_moment(record.issued_at),
        "issued_by": record.issued_by or None,
        "expires_at": format_moment(record.expires_at) if record.expires_at else None,
        "gen": record.gen,
    }
    if record.revoked_at:
        document["revoked_at"] = format_moment(record.revoked_at)
        document["revoked_reason"] = record.revoked_reason
    return document


def status_of(record: KeyRecord) -> str:
    """Return active, suspended, revoked or expired."""
    live = record.revoked_at is None
    return "expired" if live and record.is_expired(datetime.now(UTC)) else record.status.value


def print_json(document: object) -> None:
    """Print the one JSON document of a command."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def print_line(text: str) -> None:
    """Print one line."""
    sys.stdout.write(text + "\n")


def print_keys(keys: Iterable[tuple[Owner, KeyRecord]]) -> None:
    """Print a table of keys."""
    table = Table("key id", "owner", "name", "status", "expires")
    for owner, record in keys:
        expires = format_moment(record.expires_at) if record.expires_at else "never"
        cells = (record.key_id, owner.username, record.name, status_of(record), expires)
        table.add_row(*(Text(cell) for cell in cells))  # as it is: a name may look like markup
    Console().print(table)


def print_key(document: dict[str, Any]) -> None:
    """Print one key, a line a field."""
    for name, value in document.items():
        print_line(f"{name:15} {', '.join(value) if isinstance(value, list) else value}")
