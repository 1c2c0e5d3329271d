"""Circuit breakers: a dependency that keeps failing is left alone for a moment instead of being waited for."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from keystile.errors import CannotTellError
from keystile.histograms import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystile.ports import Ticks

CALL_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 1.0, 3.0)  # seconds; a Redis call ends at 0.3


class Breaker:
    """Opens after *threshold* failures in a row, for *pause* seconds with jitter; then one call may probe.

    Kept short (default 0.5 s) because recovery must be noticed within seconds. Every call passes here, so this is
    where they are timed: *seconds* of all that ended, *failures* among them.
    """

    def __init__(
        self,
        what: str,
        *,
        threshold: int = 3,
        pause: float = 0.5,
        ticks: Ticks = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._what = what
        self._threshold = threshold
        self._pause = pause
        self._ticks = ticks
        self._jitter = jitter
        self._failures = 0
        self._closed_at = 0.0
        self.seconds = Histogram(CALL_BOUNDS)
        self.failures = 0

    @property
    def is_open(self) -> bool:
        """Tell whether calls are refused right now."""
        return self._failures >= self._threshold and self._ticks() < self._closed_at

    def check(self) -> float:
        """Let one call pass and return when it began (ticks), or raise a `CannotTellError`."""
        began_at = self._ticks()
        if self._failures < self._threshold:
            return began_at
        if began_at < self._closed_at:
            raise CannotTellError(f"{self._what} is out of reach")
        self._rest()  # this call is the probe; the others go on waiting for it
        return began_at

    def succeeded(self, began_at: float) -> None:
        """Note an answer to the call that began then."""
        self.seconds.observe(self._ticks() - began_at)
        self._failures = 0

    def failed(self, began_at: float) -> None:
        """Note a failure of the call that began then."""
        self.seconds.observe(self._ticks() - began_at)
        self.failures += 1
        self._failures += 1
        if self._failures >= self._threshold:
            self._rest()

    def _rest(self) -> None:
        self._closed_at = self._ticks() + self._pause * (1 + self._jitter())
