"""Lengths of time as people write them: `90`, `90s`, `15m`, `2h`, `1d`."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SECONDS = {unit: int(timedelta(**{name: 1}).total_seconds()) for unit, name in _UNITS.items()}
_DURATION = re.compile(r"(\d{1,9})([smhd]?)", re.ASCII)


def parse_duration(text: str) -> timedelta | None:
    """Read `90`, `90s`, `15m`, `2h` or `1d`; None for anything else."""
    match = _DURATION.fullmatch(text)
    return timedelta(**{_UNITS[match[2] or "s"]: int(match[1])}) if match else None


def duration_text(value: object) -> str:
    """Return a duration as it is written in a setting, anything else as it prints."""
    if not isinstance(value, timedelta):
        return str(value)
    seconds = int(value.total_seconds())
    unit = next(unit for unit in ("d", "h", "m", "s") if seconds % _SECONDS[unit] == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"
