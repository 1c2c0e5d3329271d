"""Processes by group: who is in one, since when, and ending exactly those."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_FOREIGN = ("KEYSTILE_", "KEYCLOAK_", "KC_", "JAVA_OPTS")
_DYING = 2  # threads
_SOON = 15.0  # seconds
_PROC = Path("/proc")  # Linux; elsewhere ps(1) tells the same


@dataclass(frozen=True)
class Process:
    """One process: *started* tells it from a later one that got the same *pid*."""

    pid: int
    group: int
    started: str


def inherited_environment() -> dict[str, str]:
    """Return this process's environment without what would set up a server behind its launcher's back."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}


def process(pid: int) -> Process | None:
    """Return the living process *pid*; one that ended and is not yet reaped is not living."""
    if _PROC.exists():
        return _from_proc(_PROC / str(pid))
    return next((p for p in _processes() if p.pid == pid), None)


def group_members(group: int) -> list[Process]:
    """Return the living processes of the process group *group*, oldest pid first."""
    return sorted((p for p in _processes() if p.group == group), key=lambda p: p.pid)


def still_alive(known: list[Process]) -> list[Process]:
    """Return those of *known* that live on under the same pid."""
    return sorted(set(known) & set(_processes()), key=lambda p: p.pid)


def signal_group(group: int, signum: signal.Signals) -> None:
    """Send *signum* to a group; one that has ended is no error."""
    with suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        os.killpg(group, signum)


def wait_until(condition: Callable[[], bool], within: float, every: float = 0.03) -> bool:
    """Look at *condition* until it holds, for at most *within* seconds; return whether it did."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def soon(condition: Callable[[], bool]) -> bool:
    """Return whether *condition* comes to hold in seconds, where without a cause it would not for minutes.

    How soon is measured by `make revocation`, on a machine that does nothing else.
    """
    return wait_until(condition, _SOON)


def end_group(known: list[Process], within: float) -> None:
    """End the group that *known* processes are in, but never a stranger.

    The kernel gives a group's number to nobody else while one of its members lives, so one process known
    by pid and start time proves that the whole group is still the one that was recorded.
    """
    alive = still_alive(known)
    if not alive:
        return
    group = alive[0].group
    members = group_members(group)
    asked = [p for p in alive if p.pid == group] or alive  # the first started ends its children itself
    signal_group(group, signal.SIGCONT)
    for one in asked:
        with suppress(ProcessLookupError):
            os.kill(one.pid, signal.SIGTERM)
    wait_until(lambda: not still_alive(asked), within)
    if still_alive(members):
        signal_group(group, signal.SIGKILL)
        wait_until(lambda: not still_alive(members), within)


def _processes() -> list[Process]:
    if not _PROC.exists():
        return _processes_by_ps()
    found = (_from_proc(entry) for entry in _PROC.iterdir() if entry.name.isdigit())
    return [one for one in found if one]


def _from_proc(entry: Path) -> Process | None:
    try:
        stat = (entry / "stat").read_text()
    except OSError:  # it ended meanwhile
        return None
    # proc(5): after the name, in parentheses, which may hold anything: state, ppid, pgrp, …
    fields = stat.rpartition(")")[2].split()
    state, group, threads, started = fields[0], int(fields[2]), int(fields[17]), fields[19]
    # A zombie with threads is still dying, and still holds its ports.
    return None if state in "ZX" and threads < _DYING else Process(int(entry.name), group, started)


def _processes_by_ps() -> list[Process]:
    command = ["/bin/ps", "-axo", "pid=,pgid=,stat=,lstart="]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - fixed words
    rows = (line.split(maxsplit=3) for line in listing.splitlines())
    return [Process(int(pid), int(group), since) for pid, group, state, since in rows if "Z" not in state]
