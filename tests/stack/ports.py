"""TCP ports on the loopback address: free ones, taken ones, and who listens on one."""

from __future__ import annotations

import shutil
import socket
import subprocess
from contextlib import closing
from pathlib import Path

LOOPBACK = "127.0.0.1"
_LISTENING = "0A"  # /proc/net/tcp, column st


def free_port() -> int:
    """Return a port nobody listens on now."""
    with closing(socket.create_server((LOOPBACK, 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether a server could listen on *port* of *host* now."""
    try:
        socket.create_server((host, port)).close()
    except OSError:
        return False
    return True


def listener_of(port: int, candidates: list[int]) -> int | None:
    """Return which of the processes *candidates* listens on *port*, or None."""
    if not Path("/proc/net/tcp").exists():
        return _listener_by_lsof(port, candidates)
    wanted = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    return next((pid for pid in candidates if wanted & _open_files(pid)), None)


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def _open_files(pid: int) -> set[str]:
    found = set()
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            found.add(str(descriptor.readlink()))
    except OSError:  # the process, or one of its descriptors, went away meanwhile
        return found
    return found


def _listener_by_lsof(port: int, candidates: list[int]) -> int | None:
    lsof = shutil.which("lsof") or "/usr/sbin/lsof"
    command = [lsof, "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-t"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
    listeners = {int(line) for line in answer.stdout.split()}
    return next((pid for pid in candidates if pid in listeners), None)
