"""The memory of the workers over time."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stack import KeystileServer

GROWTH_ALLOWED = 1.10  # the median of the last quarter against that of the second
_MARGIN = 4_000_000  # bytes, so that a page more in a short run is no growth
_EVERY = 1.0  # seconds
_LEAST = 3  # samples in a quarter that make a median


@dataclass(frozen=True, slots=True)
class Growth:
    """One worker's median resident memory in two quarters of the time, in bytes."""

    pid: int
    second_quarter: float
    last_quarter: float

    @property
    def is_flat(self) -> bool:
        """Whether it stayed within the margin."""
        return self.last_quarter <= self.second_quarter * GROWTH_ALLOWED + _MARGIN


class Memory:
    """Samples the workers of one server."""

    def __init__(self, server: KeystileServer) -> None:
        self._server = server
        self._began = time.monotonic()
        self._samples: dict[int, list[tuple[float, int]]] = defaultdict(list)
        self._sampled_at = 0.0

    def workers(self) -> list[int]:
        """Return the processes that answer: the parent's children, but not multiprocessing's own helper."""
        parent = self._server.pid
        children = [member.pid for member in self._server.members() if member.pid != parent]
        return [pid for pid in children if b"resource_tracker" not in _command_line(pid)]

    def sample(self) -> None:
        """Take a sample if it is time for one."""
        now = time.monotonic()
        if now < self._sampled_at + _EVERY:
            return
        self._sampled_at = now
        for pid in self.workers():
            resident = _resident(pid)
            if resident:
                self._samples[pid].append((now - self._began, resident))

    def begin(self) -> None:
        """Let the time that counts begin now."""
        self._began = time.monotonic()
        self._samples.clear()

    def growth(self) -> list[Growth]:
        """Return how each worker grew that was there in both quarters."""
        whole = self._sampled_at - self._began
        found = []
        for pid, samples in self._samples.items():
            second = [resident for at, resident in samples if whole / 4 <= at < whole / 2]
            last = [resident for at, resident in samples if at >= whole * 3 / 4]
            if len(second) >= _LEAST and len(last) >= _LEAST:
                found.append(Growth(pid, statistics.median(second), statistics.median(last)))
        return found


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b"resource_tracker"  # it is gone


def _resident(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(lines[0].split()[1]) * 1024 if lines else 0
