"""The record of a running stack: which processes are its own, so that a later command ends those alone."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from stack.errors import StackError
from stack.files import write_private
from stack.processes import Process, end_group, process, still_alive, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from stack.server import Server

_STOPS_WITHIN = 30.0  # seconds, each server
_SUPERVISOR_STOPS_WITHIN = 120.0  # seconds


@dataclass
class Record:
    """A file with the *supervisor* (the command itself while it is in the foreground) and each server's processes."""

    path: Path
    supervisor: list[Process] = field(default_factory=list)
    servers: list[list[Process]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Record:
        """Return what *path* says; no file means that nothing runs."""
        if not path.exists():
            return cls(path)
        kept = json.loads(path.read_text())
        supervisor, *servers = [[Process(**one) for one in group] for group in kept]
        return cls(path, supervisor, servers)

    def add_supervisor(self) -> None:
        """Note this process, which ends the servers when it is told to end."""
        self.supervisor = [own for own in [process(os.getpid())] if own]
        self._write()

    def forget_supervisor(self) -> None:
        """Leave the servers to themselves."""
        self.supervisor = []
        self._write()

    def add(self, server: Server) -> None:
        """Note all processes of *server*."""
        self.servers.append(server.members())
        self._write()

    def is_running(self) -> bool:
        """Tell whether any recorded process still lives."""
        return bool(still_alive([one for group in (self.supervisor, *self.servers) for one in group]))

    def end_all(self) -> None:
        """End the supervisor, and the servers it did not end, last started first."""
        for own in still_alive(self.supervisor):
            os.kill(own.pid, signal.SIGTERM)
        if not wait_until(lambda: not still_alive(self.supervisor), _SUPERVISOR_STOPS_WITHIN):
            raise StackError(f"the stack's own process {self.supervisor[0].pid} does not end")
        for members in reversed(self.servers):
            end_group(members, _STOPS_WITHIN)
        self.delete()

    def delete(self) -> None:
        """Forget everything."""
        self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        groups = [[asdict(one) for one in group] for group in (self.supervisor, *self.servers)]
        write_private(self.path, json.dumps(groups))
