"""What one process counts for its metrics: plain numbers that are read when somebody asks for them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

NO_REASON = "none"
ACCEPTED = ("accepted", NO_REASON)


class Source(StrEnum):
    """Where a verdict was read."""

    PROCESS = "process"
    REDIS = "redis"
    DIRECTORY = "directory"
    INDEX = "index"
    STALE = "stale"  # kept for longer than it is fresh, because the directory was away


@dataclass(slots=True)
class Counts:
    """A request pays for one addition: *standing* are those that a verdict judged a moment ago accepted as it was.

    *outcomes*: all others, by outcome and reason. *reads*: verdicts by where they were read. *changes*: of keys,
    through this process, by what was done.
    """

    standing: int = 0
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    reads: Counter[Source] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    alerts: int = 0

    @property
    def accepted(self) -> int:
        """All that were accepted."""
        return self.outcomes[ACCEPTED] + self.standing
