"""The machine measured on: which core does what, and what the processes of a server have spent there."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from stack.errors import StackError
from stack.packages import command_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stack.server import Server

LOAD_CORE, SERVER_CORE = 0, 1
BOTH = (LOAD_CORE, SERVER_CORE)
_TICKS = os.sysconf("SC_CLK_TCK")


def check() -> None:
    """Raise a `StackError` unless everything that is measured with is here."""
    if not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) < len(BOTH):
        raise StackError("the benchmarks need Linux and two cores: one for the load, one for the server")
    command_path("wrk", "wrk")
    command_path("taskset", "util-linux")


def pin(server: Server, *cores: int) -> None:
    """Keep every thread of *server* on *cores*; threads it starts later stay there too."""
    for _ in range(2):  # a thread that was started meanwhile, by one that was not pinned yet
        for member in server.members():
            for thread in Path(f"/proc/{member.pid}/task").iterdir():
                with suppress(ProcessLookupError):
                    os.sched_setaffinity(int(thread.name), cores)


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Keep the calling thread on *core* meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(server: Server) -> float:
    """Return what the server's processes have spent so far."""
    total = 0
    for member in server.members():
        fields = Path(f"/proc/{member.pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def resident_megabytes(server: Server) -> float:
    """Return the resident memory of the largest of the server's processes, in millions of bytes."""
    pages = [int(Path(f"/proc/{member.pid}/statm").read_text().split()[1]) for member in server.members()]
    return max(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


@cache
def description() -> dict[str, str | int]:
    """Return what a reader must know to compare with another machine, as it was when first asked."""
    return {
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}",
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
        "commit": _commit(),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown processor")


def _commit() -> str:
    """Return the commit, with a mark if files differ from it; what is measured does not count."""
    changed = [name for name in _git("diff", "--name-only", "HEAD").splitlines() if not name.endswith("results.json")]
    return (_git("rev-parse", "--short=12", "HEAD") or "unknown") + ("-dirty" if changed else "")


def _git(*words: str) -> str:
    done = subprocess.run(  # noqa: S603 - fixed words
        [command_path("git", "git"), *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
