"""What the trials gave: percentiles, a table, and whether the promises were kept."""

from __future__ import annotations

import math
import platform
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from revocation.trials import Outcome

RESULTS = Path(__file__).with_name("results.json")


@dataclass(frozen=True, slots=True)
class Promise:
    """The longest lag allowed for a *kind* of end, in seconds; *by* says of which figure."""

    kind: str
    bound: float
    by: str  # "p99" or "max"


def percentile(values: list[float], share: float) -> float:
    """Return the smallest value that at least that *share* of all is not above."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def rows(outcomes: list[Outcome], promises: list[Promise]) -> list[dict[str, Any]]:
    """Return one row for each kind of end and door."""
    found = []
    for promise in promises:
        of_kind = [outcome for outcome in outcomes if outcome.kind == promise.kind]
        for door in sorted({door for outcome in of_kind for door in outcome.lags}, reverse=True):
            lags = [outcome.lags[door] for outcome in of_kind]
            figures = {"p50": statistics.median(lags), "p99": percentile(lags, 0.99), "max": max(lags)}
            found.append(
                {
                    "kind": promise.kind,
                    "door": door,
                    "runs": len(lags),
                    **{name: round(figure, 3) for name, figure in figures.items()},
                    "wanted": f"{promise.by} <= {promise.bound:g} s",
                    "kept": figures[promise.by] <= promise.bound,
                    "since_asked_p50": round(statistics.median(each.since_asked[door] for each in of_kind), 3),
                    "answered_after_p50": round(statistics.median(each.seconds_to_answer for each in of_kind), 3),
                }
            )
    return found


def as_table(document: dict[str, Any]) -> str:
    """Return the Markdown table and what was wrong besides."""
    names = {"verify": "`/sts/verify`", "token": "`/sts/token`", "jwt": "JWT at `/sts/verify`"}
    lines = [
        "| end | door | runs | p50 | p99 | max | wanted | kept | p50 since asked | answered after |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['kind']} | {names[row['door']]} | {row['runs']} | {row['p50']:.3f} s | {row['p99']:.3f} s "
        f"| {row['max']:.3f} s | {row['wanted']} | {'yes' if row['kept'] else '**no**'} "
        f"| {row['since_asked_p50']:.3f} s | {row['answered_after_p50']:.3f} s |"
        for row in document["rows"]
    ]
    lines += ["", f"Wrong answers meanwhile: {document['wrong']} {document['wrong_by_reason'] or ''}"]
    return "\n".join([*lines, *(f"not made: {failed}" for failed in document["failed"])]) + "\n"


def make_document(outcomes: list[Outcome], promises: list[Promise], **more: object) -> dict[str, Any]:
    """Return everything worth keeping."""
    return {"machine": platform.platform(), **more, "rows": rows(outcomes, promises)}
