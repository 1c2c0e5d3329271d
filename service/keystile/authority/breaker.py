"""Circuit breakers: a dependency that keeps failing is left alone for a moment instead of being waited for."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from keystile.errors import CannotTellError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystile.ports import Ticks


class Breaker:
    """Opens after *threshold* failures in a row, for *pause* seconds with jitter; then one call may probe.

    Kept short (default 0.5 s) because recovery must be noticed within seconds.
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

    @property
    def is_open(self) -> bool:
        """Tell whether calls are refused right now."""
        return self._failures >= self._threshold and self._ticks() < self._closed_at

    def check(self) -> None:
        """Let one call pass, or raise a `CannotTellError`."""
        if self._failures < self._threshold:
            return
        if self._ticks() < self._closed_at:
            raise CannotTellError(f"{self._what} is out of reach")
        self._rest()  # this call is the probe; the others go on waiting for it

    def succeeded(self) -> None:
        """Note an answer."""
        self._failures = 0

    def failed(self) -> None:
        """Note a failure."""
        self._failures += 1
        if self._failures >= self._threshold:
            self._rest()

    def _rest(self) -> None:
        self._closed_at = self._ticks() + self._pause * (1 + self._jitter())
