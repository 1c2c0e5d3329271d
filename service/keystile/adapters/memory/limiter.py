"""Failed look-ups per client address, counted in this process."""

from __future__ import annotations

import time
from collections import deque
from math import ceil
from typing import TYPE_CHECKING

from cachetools import TTLCache

from keystile.clients import client_of

if TYPE_CHECKING:
    from keystile.ports import Ticks

_MOST_CLIENTS = 50_000
_MOST_FAILURES = 200_000


class InProcessFailureLimiter:
    """A `FailureLimiter` of this process: *failures* in any *window* of seconds.

    Not on the `limits` library, whose memory storage walks over every address it knows at every failure, through
    a thread for each, and is not bounded (5.8.0). This one forgets the longest unseen addresses above 50,000.
    """

    def __init__(self, *, failures: int, window: float = 60, ticks: Ticks = time.monotonic) -> None:
        self._most = failures
        self._window = window
        self._ticks = ticks
        self._failed: TTLCache[str, deque[float]] = TTLCache(_MOST_CLIENTS, window, ticks)
        self._seen: TTLCache[tuple[str, str], None] = TTLCache(_MOST_FAILURES, window, ticks)

    async def wait(self, address: str) -> int:
        """Return 0 or the seconds until the oldest of the failures that count no longer does."""
        failed = self._failed.get(client_of(address))
        if failed is None or len(failed) < self._most:
            return 0
        return max(0, ceil(failed[0] + self._window - self._ticks()))

    async def fail(self, address: str, tag: str) -> None:
        """Count one failed look-up, once in a window for each address and tag."""
        client = client_of(address)
        if (client, tag) in self._seen:
            return
        self._seen[client, tag] = None
        failed = self._failed.get(client) or deque(maxlen=self._most)
        failed.append(self._ticks())
        self._failed[client] = failed  # set again, so that it lives a window from now
