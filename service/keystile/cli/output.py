"""What commands print: one JSON document on standard output, or lines and tables for people."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from keystile.assembly import now
from keystile.documents import status_of
from keystile.records import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keystile.records import KeyRecord, Owner


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
        cells = (record.key_id, owner.username, record.name, status_of(record, now()), expires)
        table.add_row(*(Text(cell) for cell in cells))  # as it is: a name may look like markup
    Console().print(table)


def print_key(document: dict[str, Any]) -> None:
    """Print one key, a line a field."""
    for name, value in document.items():
        print_line(f"{name:15} {', '.join(map(str, value)) if isinstance(value, list) else value}")
