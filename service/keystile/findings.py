"""Findings: what doctor says of each thing it looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: whether it is as it must be, what it is, and (if not) how to mend it."""

    ok: bool
    what: str
    fix: str = ""
