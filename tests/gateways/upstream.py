"""What a gateway guards: a server that remembers what reached it, byte for byte where that matters."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Self

from stack.ports import LOOPBACK

GREETING = b"from the upstream\n"


@dataclass(frozen=True)
class Seen:
    """One request as it came: *target* is path and query, *headers* in order and as they were written."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    length: int
    sha256: str

    def values(self, name: str) -> list[str]:
        """Return the values of that header, whatever its case and whether written with dashes or underscores."""
        return [value for key, value in self.headers if key.lower().replace("_", "-") == name]


class Upstream:
    """Answers every request with 200 and keeps it; `with` starts and ends it."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._server = _Quiet((LOOPBACK, 0), _handler(self.seen))
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def take(self) -> list[Seen]:
        """Return what came since this was last asked."""
        seen, self.seen[:] = list(self.seen), []
        return seen

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_what: object) -> None:
        """Say nothing: gateways drop connections that they kept."""


def _handler(seen: list[Seen]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self._body()
            seen.append(
                Seen(self.command, self.path, tuple(self.headers.items()), len(body), hashlib.sha256(body).hexdigest())
            )
            self.send_response(200)
            self.send_header("Content-Length", str(len(GREETING)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(GREETING)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_any  # noqa: N815 - theirs

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", "0")))
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def log_message(self, *_what: object) -> None:
            """Say nothing: the tests look at what was seen."""

    return Handler
