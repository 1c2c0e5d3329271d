"""Keycloak's access log: which requests it answered since a moment, and nothing missed."""

from __future__ import annotations

import secrets
from http.client import HTTPConnection
from typing import TYPE_CHECKING

from stack.errors import StackError
from stack.ports import LOOPBACK
from stack.processes import wait_until

if TYPE_CHECKING:
    from pathlib import Path

# Method, path with query, status; the base name and the folder are Keycloak's to extend.
OPTIONS = (
    "--http-access-log-enabled=true",
    "--http-access-log-file-enabled=true",
    "--http-access-log-file-rotate=false",
    "--http-access-log-file-name=access",
    "--http-access-log-pattern=%m %U %s",
)
_WRITTEN_WITHIN = 10.0  # seconds
_PROBE = "/access-log-probe-"


class AccessLog:
    """The log file at *path* of the server on *port*.

    Keycloak writes a line after its answer and on one of several threads. So both methods first send two requests of
    their own, one after the other, and wait for their lines: what was answered before the call is in the file by then.
    """

    def __init__(self, path: Path, port: int) -> None:
        self._path = path
        self._port = port

    def mark(self) -> int:
        """Return the position up to which everything belongs to the past."""
        self._flush()
        return self._size()

    def requests_since(self, mark: int) -> list[str]:
        """Return the requests answered since *mark*, oldest first, as `GET /path?query 200`."""
        self._flush()
        return [line for line in self._read(mark).splitlines() if _PROBE not in line]

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0  # the first request makes it

    def _read(self, start: int) -> str:
        if not self._path.exists():
            return ""
        with self._path.open("rb") as log:
            log.seek(start)
            return log.read().decode()

    def _flush(self) -> None:
        for _ in range(2):
            self._probe()

    def _probe(self) -> None:
        probe = f"{_PROBE}{secrets.token_hex(8)} "
        before = self._size()
        connection = HTTPConnection(LOOPBACK, self._port, timeout=_WRITTEN_WITHIN)
        try:
            connection.request("GET", probe.rstrip())
            connection.getresponse().read()
        finally:
            connection.close()
        if not wait_until(lambda: probe in self._read(before), _WRITTEN_WITHIN):
            raise StackError(f"Keycloak does not write its access log to {self._path}")
