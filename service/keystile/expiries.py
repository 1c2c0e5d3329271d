"""When a key ends: `90d`, `1y`, `never` or a date."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from keystile.errors import PolicyRefusedError
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
