"""What commands print: one JSON document on standard output, or lines and tables for people."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from keystile.assembly import now
from keystile.documents import key_document, status_of
from keystile.records import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keystile.authority.stops import StoppedKey
    from keystile.records import KeyRecord, Owner
    from keystile.usage import KeyUsage


def print_json(document: object) -> None:
    """Print the one JSON document of a command."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def print_line(text: str) -> None:
    """Print one line."""
    sys.stdout.write(text + "\n")


def print_keys(keys: Iterable[tuple[Owner, KeyRecord]]) -> None:
    """Print a table of keys."""
    rows = (
        (
            record.key_id,
            owner.username,
            record.name,
            status_of(record, now()),
            record.policy.level or "-",
            format_moment(record.expires_at) if record.expires_at else "never",
        )
        for owner, record in keys
    )
    print_table(("key id", "owner", "name", "status", "level", "expires"), rows)


def confirm(question: str) -> None:
    """Ask, and end the command unless the answer is yes; where nobody answers, say what to do."""
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort as error:
        typer.echo("keystile: nobody answered: add --yes", err=True)
        raise typer.Exit(1) from error
    if not agreed:
        raise typer.Abort


def print_table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table."""
    table = Table()
    for number, head in enumerate(heads):
        table.add_column(head, no_wrap=number == 0, overflow="fold")  # the first says which one it is
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))  # as it is: a name may look like markup
    Console().print(table)


def print_key(document: dict[str, Any]) -> None:
    """Print one key, a line a field."""
    for name, value in document.items():
        print_line(f"{name:15} {', '.join(map(str, value)) if isinstance(value, list) else value}")


def print_usage(used: KeyUsage) -> None:
    """Print a table of the days on which anything was, and when the key was used last."""
    document = used.to_document()
    heads = ("requests", "errors", "bytes", "tokens", "cost_cents", "limit_hits")
    rows = [
        (day["date"], *(day[name] for name in heads), sum(day["refused"].values()))
        for day in [*document["days"], {"date": "in all", **document["totals"]}]
    ]
    print_table(("day", *(name.replace("_", " ") for name in heads), "refused"), [row for row in rows if any(row[1:])])
    by = document["last_used_ip"]
    print_line(f"last used: {document['last_used_at'] or 'never, as far as is known'}" + (f" from {by}" if by else ""))
    old = document["earlier_secret_last_use"]
    if old is not None:
        print_line(f"its old secret: {old['at']}")


def print_events(documents: Iterable[dict[str, Any]], following: str) -> None:
    """Print a table of what happened to a key; *following* is where the next page begins."""
    rows = [
        (each["at"], each["event"], each["outcome"], _who(each), each.get("address", "-"), each.get("reason", "-"))
        for each in documents
    ]
    print_table(("at", "event", "outcome", "by", "address", "reason"), rows)
    if following:
        print_line(f"more: --before {following}")


def print_stopped(stopped: StoppedKey, status: str, *, as_json: bool) -> None:
    """Print what became of a key that was stopped; Keycloak may not know it yet."""
    if as_json:
        print_json(stopped_document(stopped, status))
    elif stopped.held is None:
        print_line(
            f"If there is a key {stopped.key_id}, it is refused from now on; Keycloak is away, and learns it later."
        )
    else:
        print_line(f"{stopped.key_id} is {status}.")


def stopped_document(stopped: StoppedKey, status: str) -> dict[str, Any]:
    """Return what is shown of a key that was stopped."""
    if stopped.held is None:
        return {"key_id": stopped.key_id, "status": status, "pending": True}
    return key_document(*stopped.held, now())


def _who(event: dict[str, Any]) -> str:
    return str(event.get("actor") or event["detail"].get("by") or "-")
