"""Alerts that do not flood: the same one at most twice a minute."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cachetools import TTLCache

if TYPE_CHECKING:
    from collections.abc import Callable

_SILENCE = 30.0  # seconds
_REMEMBERED = 100


class Alerts:
    """Hands messages on to *sink*, each again only after a silence."""

    def __init__(self, sink: Callable[[str], None]) -> None:
        self._sink = sink
        self._said: TTLCache[str, bool] = TTLCache(_REMEMBERED, _SILENCE, timer=time.monotonic)

    def __call__(self, message: str) -> None:
        """Raise an alert, unless it was raised a moment ago."""
        if message not in self._said:
            self._said[message] = True
            self._sink(message)
