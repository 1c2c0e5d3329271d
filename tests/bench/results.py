"""What was measured: rows by group, kept in results.json, shown as the table of the README."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.machine import description

FILE = Path(__file__).with_name("results.json")
_HEAD = "| what | against | reach | measured | here | there |\n|---|---|---|---|---|---|"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table.

    *value* is a ratio unless it has a *unit*; *at_least* or *at_most* is what it should reach. *here* and *there*
    are what the ratio is of, in *per*. *facts* are further counts worth keeping.
    """

    what: str
    against: str
    value: float
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    here: float | None = None
    there: float | None = None
    per: str = ""
    rounds: int
    facts: dict[str, float] = field(default_factory=dict)

    @property
    def reach(self) -> str:
        """What is wanted, in words."""
        if self.at_least is not None:
            return f"at least {self.at_least:g}{_spaced(self.unit)}"
        return f"at most {self.at_most:g}{_spaced(self.unit)}" if self.at_most is not None else ""

    @property
    def is_reached(self) -> bool:
        """Tell whether the value is what is wanted."""
        low = self.at_least if self.at_least is not None else self.value
        high = self.at_most if self.at_most is not None else self.value
        return low <= self.value <= high

    def line(self) -> str:
        """Return this row as a line of the table."""
        measured = f"{_short(self.value)}{_spaced(self.unit)}"
        measured = measured if self.is_reached else f"**{measured}**"
        here, there = (
            f"{_short(rate)}{_spaced(self.per)}" if rate is not None else "" for rate in (self.here, self.there)
        )
        return f"| {self.what} | {self.against} | {self.reach} | {measured} | {here} | {there} |"


def keep(group: str, rows: list[Row]) -> None:
    """Put the rows of *group* into results.json in place of its older ones."""
    groups = _read()
    groups[group] = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **description(),
        "rows": [{**asdict(row), "reach": row.reach, "is_reached": row.is_reached} for row in rows],
    }
    FILE.write_text(json.dumps(groups, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def kept_table(order: list[str]) -> str:
    """Return the table of everything kept, its groups in that *order*."""
    groups = _read()
    return table([_row(row) for name in order if name in groups for row in groups[name]["rows"]])


def table(rows: list[Row]) -> str:
    """Return *rows* as Markdown."""
    return "\n".join([_HEAD, *(row.line() for row in rows)]) + "\n"


def _read() -> dict[str, Any]:
    groups: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    return groups


def _row(kept: dict[str, Any]) -> Row:
    return Row(**{name: value for name, value in kept.items() if name not in ("reach", "is_reached")})


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _spaced(unit: str) -> str:
    return f" {unit}" if unit else ""
