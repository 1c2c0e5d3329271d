"""When a key ends: `90d`, `1y`, `never` or a date; and how long any key may live."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from keystile.errors import ConfigurationError, PolicyRefusedError
from keystile.records import parse_moment

_SPAN = re.compile(r"([1-9]\d{0,3})([dy])", re.ASCII)
_DAYS = {"d": 1, "y": 365}


def parse_expiry(text: str, now: datetime) -> datetime | None:
    """Return the moment *text* means, None for `never`; raises `PolicyRefusedError`."""
    if text == "never":
        return None
    match = _SPAN.fullmatch(text)
    try:
        return now + timedelta(days=int(match[1]) * _DAYS[match[2]]) if match else parse_moment(text)
    except (ValueError, OverflowError) as error:
        raise PolicyRefusedError("an expiry is like 90d, 1y, never, or a date like 2027-01-31", "expires") from error


def parse_longest(text: str) -> timedelta | None:
    """Return how long a key may live by *text*, None for `never`, which bounds nothing; or `ConfigurationError`."""
    match = _SPAN.fullmatch(text)
    if text != "never" and match is None:
        raise ConfigurationError("a longest life is like 90d, 1y, or never")
    return timedelta(days=int(match[1]) * _DAYS[match[2]]) if match else None


def cut(expires_at: datetime | None, longest: timedelta | None, now: datetime) -> datetime | None:
    """Return *expires_at*, or the last moment that a key may see which begins to live now, if that is earlier."""
    if longest is None:
        return expires_at
    return now + longest if expires_at is None else min(expires_at, now + longest)
