"""What one process counts for its metrics: plain numbers that are read when somebody asks for them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from keystile.errors import Reason

ACCEPTED = ("accepted", "none")
TOO_MANY_FAILURES = ("limited", "too_many_failures")
SEARCHING = ("unanswered", "searching")
CANNOT_TELL = ("unanswered", "cannot_tell")
_LIMITS = (Reason.RATE_LIMITED, Reason.QUOTA_EXCEEDED)
# All there can be, and told from the start: a counter that first shows up with 1 has not risen, for Prometheus.
OUTCOMES = (
    *(ACCEPTED, TOO_MANY_FAILURES, SEARCHING, CANNOT_TELL),
    *(("limited" if reason in _LIMITS else "refused", reason.value) for reason in Reason),
)


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
    outcomes: Counter[tuple[str, str]] = field(default_factory=lambda: Counter(dict.fromkeys(OUTCOMES, 0)))
    reads: Counter[Source] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    alerts: int = 0

    @property
    def accepted(self) -> int:
        """All that were accepted."""
        return self.outcomes[ACCEPTED] + self.standing
