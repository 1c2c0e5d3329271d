"""Readings: the numbers of one moment, in a form that workers can tell each other and put together."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from keystile.http.metrics.families import FAMILIES, Family, Kind, add

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BY_NAME = {family.name: family for family in FAMILIES}
_LONGEST = 64  # characters of a label's value


@dataclass(slots=True)
class Reading:
    """Values by metric and label values, as they were *at* that tick of the machine's monotonic clock."""

    at: float
    values: dict[tuple[Family, tuple[str, ...]], list[float]] = field(default_factory=dict)

    def put(self, family: Family, *labels: str, value: float | Sequence[float]) -> None:
        """Take a value in."""
        self.values[family, labels] = [value] if isinstance(value, int | float) else list(value)

    def lasting(self) -> Reading:
        """Return what counts on after its worker has ended: all but what was true at a moment alone."""
        kept = {at: value for at, value in self.values.items() if at[0].kind is not Kind.GAUGE}
        return Reading(self.at, kept)

    def to_text(self) -> str:
        """Return the form that a file keeps."""
        values = [[family.name, labels, value] for (family, labels), value in self.values.items()]
        return json.dumps([self.at, values], separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Reading:
        """Read what `to_text` wrote; raises ValueError, TypeError or KeyError on anything else."""
        try:
            at, values = json.loads(text)
            return cls(float(at), dict(_entry(*each) for each in values))
        except (OverflowError, RecursionError) as error:  # numbers too large, lists too deep
            raise ValueError(str(error)) from error


def together(readings: Iterable[Reading]) -> Reading:
    """Return what several workers told, as one."""
    found: dict[tuple[Family, tuple[str, ...]], list[list[float]]] = {}
    at = 0.0
    for reading in readings:
        at = max(at, reading.at)
        for name, value in reading.values.items():
            found.setdefault(name, []).append(value)
    return Reading(at, {name: name[0].together(values) for name, values in found.items()})


def _entry(
    name: str,
    labels: Any,  # noqa: ANN401 - JSON
    value: Any,  # noqa: ANN401 - JSON
) -> tuple[tuple[Family, tuple[str, ...]], list[float]]:
    family, numbers = _BY_NAME[name], [float(each) for each in value]
    if len(labels) != len(family.labels) or not all(isinstance(each, str) and each.isascii() for each in labels):
        raise ValueError(f"{name} has other labels")
    if len(numbers) not in _lengths(family):
        raise ValueError(f"{name} has other numbers")
    return (family, tuple(each[:_LONGEST] for each in labels)), numbers


def _lengths(family: Family) -> tuple[int, ...]:
    """Return how many numbers a value may have: only what is not added up may have more than the one that is told."""
    if family.bounds:
        return (len(family.bounds) + 2,)
    return (1,) if family.together is add else (1, 2)
