"""A gateway in front of a server, as people configure them: it passes on all but what was forgotten."""

from __future__ import annotations

import threading
from http import HTTPStatus
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

from stack.ports import LOOPBACK

if TYPE_CHECKING:
    from types import TracebackType

_PATIENCE = 20.0  # seconds
_HOP_BY_HOP = {"connection", "content-length", "transfer-encoding"}


class Gateway:
    """Passes requests on to the server on *port*, `Host` included; paths with *forgotten* in them are a 404."""

    def __init__(self, port: int) -> None:
        self.forgotten = ""
        self._server = ThreadingHTTPServer((LOOPBACK, 0), _handler(self, port))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        """The base of its addresses."""
        return f"http://{LOOPBACK}:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(gateway: Gateway, port: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if gateway.forgotten and gateway.forgotten in self.path:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            wire = HTTPConnection(LOOPBACK, port, timeout=_PATIENCE)
            length = int(self.headers.get("Content-Length") or 0)
            wire.request(self.command, self.path, self.rfile.read(length), dict(self.headers.items()))
            self._pass_back(wire)
            wire.close()

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - the standard library's names

        def _pass_back(self, wire: HTTPConnection) -> None:
            answer = wire.getresponse()
            body = answer.read()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    return Handler
