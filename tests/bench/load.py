"""Load and its cost: wrk on one core, and the CPU seconds that the server's processes spent meanwhile on the other."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stack.packages import command_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stack.server import Server

CONNECTIONS = 32
_TICKS = os.sysconf("SC_CLK_TCK")
_LOAD_CORE, _SERVER_CORE = 0, 1


@dataclass(frozen=True, slots=True)
class Request:
    """One request to repeat. *body* makes it a POST of a form."""

    url: str
    headers: Mapping[str, str]
    body: str = ""
    status: int = 200


@dataclass(frozen=True, slots=True)
class Measured:
    """What one round gave: answers, of which *others* were not as wanted, and CPU seconds of the server."""

    answers: int
    others: int
    cpu: float
    seconds: float

    @property
    def per_cpu_second(self) -> float:
        """Answers per CPU second of the server's process group."""
        return self.answers / self.cpu


def measure(server: Server, request: Request, folder: Path, *, seconds: int) -> Measured:
    """Repeat *request* for some seconds; raise AssertionError if an answer is not the one wanted."""
    before = cpu_seconds(server)
    printed = _wrk(request, folder, seconds)
    cpu = cpu_seconds(server) - before
    answers = int(_number(r"(\d+) requests in", printed))
    refused = int(_number(r"Non-2xx or 3xx responses: (\d+)", printed))
    measured = Measured(answers, answers - refused if request.status >= 400 else refused, cpu, seconds)
    assert measured.others == 0, printed
    assert "Socket errors" not in printed, printed
    return measured


def pin(server: Server) -> None:
    """Keep every thread of the server on its core."""
    for member in server.members():
        for thread in Path(f"/proc/{member.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {_SERVER_CORE})


def cpu_seconds(server: Server) -> float:
    """Return what the server's processes have spent so far."""
    total = 0
    for member in server.members():
        fields = Path(f"/proc/{member.pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def _wrk(request: Request, folder: Path, seconds: int) -> str:
    script = folder / "request.lua"
    lines = [f"wrk.headers[{name!r}] = {value!r}" for name, value in request.headers.items()]
    if request.body:
        lines += ["wrk.method = 'POST'", f"wrk.body = {request.body!r}"]
    script.write_text("\n".join(lines))
    command = [
        *[command_path("taskset", "util-linux"), "-c", str(_LOAD_CORE)],
        *[command_path("wrk", "wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), request.url],
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 30).stdout  # noqa: S603 - our own command


def _number(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1] if match else "0"
