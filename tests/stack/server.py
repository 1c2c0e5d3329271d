"""One server in a process group of its own: started, watched until ready, stopped, killed, frozen."""

from __future__ import annotations

import os
import signal
import subprocess
from abc import ABC, abstractmethod
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, ClassVar, Self

from stack.errors import StackError
from stack.ports import LOOPBACK, free_port, is_free
from stack.processes import (
    Process,
    group_members,
    inherited_environment,
    process,
    signal_group,
    wait_until,
)

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_LAST_LINES = 15


class Server(ABC):
    """What every handle can do; `with` starts and stops it.

    Shape of a life: `start`, then any of `suspend`, `resume`, `kill`, `restart`, at last `stop`, which is
    harmless when nothing runs. The port and the data stay the same over all of them.
    """

    name: ClassVar[str]
    ready_within: ClassVar[float]  # seconds
    stop_within: ClassVar[float]  # seconds from SIGTERM to SIGKILL

    def __init__(self, port: int | None, log_path: Path) -> None:
        self.port = port or free_port()
        self.log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _command(self) -> list[str]:
        """Prepare what the server needs on disk and return its command line."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Ask the server itself, with a short timeout."""

    def _environment(self) -> dict[str, str]:
        return {}

    @property
    def pid(self) -> int:
        """The process that answers; raises `StackError` when nothing runs."""
        return self._running().pid

    def start(self) -> Self:
        """Start it and return when it is ready; raises `StackError`, and then nothing is left running."""
        if self._process:
            raise StackError(f"{self.name} runs already")
        if not is_free(self.port):
            raise StackError(f"port {self.port}, for {self.name}, is taken by another program")
        try:
            self._process = self._spawn()
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """End it: SIGTERM, then SIGKILL for what is left after `stop_within` seconds."""
        if self._process:
            signal_group(self._process.pid, signal.SIGCONT)
            if not self.has_ended():
                os.kill(self._process.pid, signal.SIGTERM)
            wait_until(self.has_ended, self.stop_within)
            self.kill()

    def kill(self) -> None:
        """End it with SIGKILL, without warning, and all its children with it."""
        if self._process:
            # Nothing reaps the leader before the last line, so until then the group's number is nobody else's.
            group = self._process.pid
            signal_group(group, signal.SIGKILL)
            wait_until(lambda: not group_members(group), self.stop_within)
            self._process.wait()
            self._process = None

    def restart(self) -> Self:
        """Stop it if it runs, and start it on the same port with the same data."""
        self.stop()
        return self.start()

    def suspend(self) -> None:
        """Freeze it (SIGSTOP): it keeps its port and connections and answers nothing."""
        signal_group(self._running().pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `suspend`."""
        signal_group(self._running().pid, signal.SIGCONT)

    def has_ended(self) -> bool:
        """Tell whether it was started and is gone; what is left of it waits for `kill` or `stop`."""
        return not self._process or process(self._process.pid) is None

    def members(self) -> list[Process]:
        """Return its processes as they are now: the first started, its children, their children."""
        return group_members(self._running().pid)

    def _running(self) -> subprocess.Popen[bytes]:
        if not self._process:
            raise StackError(f"{self.name} does not run")
        return self._process

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - the commands are the launchers' own
                self._command(),
                env=inherited_environment() | self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_until_ready(self) -> None:
        wait_until(lambda: self.has_ended() or self._is_ready(), self.ready_within, every=0.1)
        if self.has_ended():
            raise StackError(f"{self.name} ended while starting; the end of {self.log_path}:\n{self._log_end()}")
        if not self._is_ready():
            raise StackError(f"{self.name} was not ready within {self.ready_within:.0f} s; see {self.log_path}")

    def _log_end(self) -> str:
        lines = self.log_path.read_text(errors="replace").splitlines()
        return "\n".join(lines[-_LAST_LINES:])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def answers_200(port: int, path: str, host: str = LOOPBACK) -> bool:
    """Tell whether GET *path* answers 200 within two seconds."""
    return _status(port, path, host) == 200


def answers(port: int, path: str = "/") -> bool:
    """Tell whether GET *path* answers anything within two seconds."""
    return _status(port, path, LOOPBACK) is not None


def _status(port: int, path: str, host: str) -> int | None:
    connection = HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
