"""How a run measures: how many rounds of how many seconds, and two things in turn in each of them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.results import Row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.estate import Estate

ENOUGH = 9  # rounds; a run of fewer is a trial


@dataclass(frozen=True, slots=True)
class Plan:
    """*estate* has the deployments on Keycloak, started when first asked for; *folder* is for everything else."""

    folder: Path
    estate: Estate
    rounds: int = ENOUGH
    seconds: int = 2

    def beside(self, here: Callable[[], float], there: Callable[[], float]) -> Beside:
        """Measure both in each round, one after the other, first the one and then the other."""
        pairs: list[tuple[float, float]] = []
        for number in range(self.rounds):
            if number % 2:
                second = there()
                pairs.append((here(), second))
            else:
                pairs.append((here(), there()))
        return Beside(pairs)


@dataclass(frozen=True, slots=True)
class Beside:
    """Pairs of rates measured in the same rounds."""

    pairs: list[tuple[float, float]]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return round(statistics.median(here / there for here, there in self.pairs), 3)

    @property
    def here(self) -> float:
        """The median of the first of each pair."""
        return round(statistics.median(here for here, _ in self.pairs), 3)

    @property
    def there(self) -> float:
        """The median of the second of each pair."""
        return round(statistics.median(there for _, there in self.pairs), 3)

    def row(self, what: str, against: str, per: str, **more: Any) -> Row:  # noqa: ANN401 - a row's fields
        """Return the line of the table for the ratio."""
        sides = {"here": self.here, "there": self.there, "per": per, "rounds": len(self.pairs)}
        return Row(**{"what": what, "against": against, "value": self.ratio, **sides, **more})
