"""What the commands on keys share: their group, and the arguments that most of them take."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from keystile.durations import parse_duration
from keystile.records import parse_moment

if TYPE_CHECKING:
    from datetime import datetime, timedelta

app = typer.Typer(help="Issue, watch, change and end API keys.", no_args_is_help=True, rich_markup_mode=None)
_WHOLE_KEY = re.compile(r"[a-z0-9]+_(?:live|test)_([0-9a-z]{12})_", re.ASCII)
_MAX_KEY_ID = 64


def check_key_id(text: str) -> str:
    """Refuse a whole API key where its id is meant, without repeating it."""
    match = _WHOLE_KEY.match(text)
    if match or len(text) > _MAX_KEY_ID:
        which = f": its id is {match[1]}" if match else ""
        raise typer.BadParameter(f"this is an API key, and does not belong on a command line{which}")
    return text


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's public id.", callback=check_key_id)]
OwnerName = Annotated[str, typer.Option(help="Username of the user or service account the key acts for.")]
KeyName = Annotated[str, typer.Option(help="A name for people.")]
Expires = Annotated[str | None, typer.Option(help="90d, 1y, never, or a date. Default: the deployment's.")]


def read_span(text: str, option: str) -> timedelta:
    """Read `0`, `90s`, `12h` or `7d`."""
    lasting = parse_duration(text)
    if lasting is None:
        raise typer.BadParameter("this is like 0, 90s, 12h or 7d", param_hint=option)
    return lasting


def read_moment(text: str, option: str) -> datetime:
    """Read a date, or a moment in ISO 8601."""
    try:
        return parse_moment(text)
    except ValueError as error:
        raise typer.BadParameter("this is a date like 2027-01-31, or a moment", param_hint=option) from error
