"""Second by second: how many answers came, how many waited in line, how long the slowest answer took."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from soak.wire import Reply, Wire

_EVERY = 1.0  # seconds


class Timeline:
    """Told of every reply; asked now and then to close a second."""

    def __init__(self, wire: Wire) -> None:
        self.rows: list[dict[str, float]] = []
        self._wire = wire
        self._began = self._last = time.monotonic()
        self._answers = 0
        self._slowest = 0.0

    def begin(self) -> None:
        """Let the first second begin now."""
        self._began = self._last = time.monotonic()

    def hear(self, reply: Reply) -> None:
        """Count one reply."""
        self._answers += 1
        self._slowest = max(self._slowest, reply.received - reply.sent)

    def tick(self) -> None:
        """Close a second if one is over."""
        now = time.monotonic()
        if now < self._last + _EVERY:
            return
        per_second = round(self._answers / (now - self._last))
        row = {"at": round(now - self._began, 1), "answers": per_second, "slowest": round(self._slowest, 3)}
        self.rows.append({**row, "line": self._wire.in_line})
        self._last, self._answers, self._slowest = now, 0, 0.0

    def write(self, path: Path) -> None:
        """Keep it for people who ask why."""
        path.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")
