"""A service behind a gateway: it keeps every request exactly as it came, and answers it with 200."""

from __future__ import annotations

import hashlib
import socketserver
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from stack.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

MARK = "X-Echo"
BROKEN = "/broken"  # the service hangs up on requests for this
EVENTS, FIRST, SECOND = "/events", b"data: 1\n\n", b"data: 2\n\n"  # the second is sent when `go_on` is set
_PATIENCE = 20.0  # seconds
_LONGEST_LINE = 65_536


@dataclass(frozen=True)
class Received:
    """One request: its *target* and header names as they were sent, and what its body was."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body_length: int
    body_sha256: str

    def values(self, name: str) -> list[str]:
        """Return every value of a header, whatever the case of its name."""
        return [value for given, value in self.headers if given.lower() == name.lower()]

    def text(self) -> str:
        """Return the whole head, to look for what should not be there."""
        return "\n".join((f"{self.method} {self.target}", *(f"{name}: {value}" for name, value in self.headers)))


class Echo:
    """The service, on a port of its own; `with` opens and closes it."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self._server = _Server((LOOPBACK, 0), _Handler)
        self.go_on = threading.Event()
        self._server.received, self._server.go_on = self.received, self.go_on
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._server.server_address[1]
        return port

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    received: list[Received]
    go_on: threading.Event


class _Handler(socketserver.StreamRequestHandler):
    """One connection. Read by hand: a library would tidy what the tests are about."""

    def handle(self) -> None:
        with suppress(ConnectionResetError):  # how some gateways part
            self._serve()

    def _serve(self) -> None:
        while request_line := self._line():
            method, target, _ = request_line.split(" ")
            headers = tuple(self._headers())
            body = b"".join(self._body({name.lower(): value for name, value in headers}))
            assert isinstance(self.server, _Server)
            digest = hashlib.sha256(body).hexdigest()
            self.server.received.append(Received(method, target, headers, len(body), digest))
            if target.startswith(BROKEN):
                return
            if target == EVENTS:
                self._send_events(self.server.go_on)
            else:
                self._answer("Content-Length: 0")

    def _answer(self, *headers: str) -> None:
        self.wfile.write("\r\n".join(("HTTP/1.1 200 OK", f"{MARK}: here", *headers, "", "")).encode())

    def _send_events(self, go_on: threading.Event) -> None:
        self._answer("Content-Type: text/event-stream", "Transfer-Encoding: chunked")
        self.wfile.write(b"%x\r\n%s\r\n" % (len(FIRST), FIRST))
        go_on.wait(_PATIENCE)
        self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(SECOND), SECOND))

    def _line(self) -> str:
        return self.rfile.readline(_LONGEST_LINE).decode("latin-1").rstrip("\r\n")

    def _headers(self) -> Iterator[tuple[str, str]]:
        while line := self._line():
            name, _, value = line.partition(":")
            yield name, value.strip()

    def _body(self, headers: dict[str, str]) -> Iterator[bytes]:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            yield self.rfile.read(int(headers.get("content-length", "0")))
            return
        while size := int(self._line(), 16):
            yield self.rfile.read(size)
            self._line()
        while self._line():  # trailers
            pass
