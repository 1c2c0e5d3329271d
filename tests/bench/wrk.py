"""Load as fast as it is answered: wrk on a core of its own, every answer counted by its status."""

from __future__ import annotations

import re
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.machine import LOAD_CORE, cpu_seconds
from stack.packages import command_path
from stack.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stack.server import Server

CONNECTIONS = 32
_SCRIPT = Path(__file__).with_name("wrk.lua")
_PATIENT = ("--timeout", "10s")  # what waits in line is not broken
_PATIENCE = 30  # seconds beyond the time asked for


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk got: answers by status, over some *seconds*."""

    statuses: dict[str, int]
    seconds: float

    def only(self, *wanted: int) -> Load:
        """Return this load, or raise AssertionError if an answer had another status."""
        assert set(self.statuses) <= {str(status) for status in wanted}, self.statuses
        return self

    @property
    def answers(self) -> int:
        """How many answers there were."""
        return sum(self.statuses.values())

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return self.answers / self.seconds


class Wrk:
    """A run of wrk that is under way."""

    def __init__(self, process: subprocess.Popen[str], seconds: float) -> None:
        self._process = process
        self._seconds = seconds

    def finish(self) -> Load:
        """Wait for its end; raises AssertionError if a connection broke or nothing was answered."""
        printed, fault = self._process.communicate(timeout=self._seconds + _PATIENCE)
        assert self._process.returncode == 0, fault + printed
        assert re.search(r"^broken 0$", printed, re.MULTILINE), printed
        statuses = {kind: int(count) for count, kind in re.findall(r"^status (\d+) (.+)$", printed, re.MULTILINE)}
        assert statuses, printed
        seconds = re.search(r"^seconds (.+)$", printed, re.MULTILINE)
        assert seconds, printed
        return Load(statuses, float(seconds[1]))


@contextmanager
def running(port: int, requests: Sequence[bytes], seconds: float, *cores: int) -> Iterator[Wrk]:
    """Send *requests* over and over while the block runs, for some seconds, on *cores* or else the load's own."""
    where = ",".join(str(core) for core in cores or (LOAD_CORE,))
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\0".join(requests))
        file.flush()
        pinned = [command_path("taskset", "util-linux"), "-c", where]
        wrk = [
            command_path("wrk", "wrk"),
            "-t1",
            f"-c{CONNECTIONS}",
            f"-d{round(seconds)}s",
            *_PATIENT,
            "-s",
            str(_SCRIPT),
        ]
        command = [*pinned, *wrk, f"http://{LOOPBACK}:{port}", "--", file.name]
        process = subprocess.Popen(  # noqa: S603 - our own command
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            yield Wrk(process, seconds)
        finally:
            process.kill()
            process.communicate()


def drive(port: int, requests: Sequence[bytes], seconds: float, *cores: int) -> Load:
    """Send *requests* over and over for some seconds."""
    with running(port, requests, seconds, *cores) as wrk:
        return wrk.finish()


def per_cpu_second(server: Server, requests: Sequence[bytes], seconds: float, status: int = 200) -> float:
    """Return how many answers *server* gave per CPU second of its process group; all must have that status."""
    before = cpu_seconds(server)
    load = drive(server.port, requests, seconds).only(status)
    return load.answers / (cpu_seconds(server) - before)
