"""An HTTP server that answers as it is told and remembers what it was asked: a token endpoint, a resource server."""

from __future__ import annotations

import http.server
import json
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

KEY = "mcpkey_live_abcdefghijkl_ABCDEFGHIJKLMNOPQRSTUVWXYZ012345_stamp1"


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int = 200
    document: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


def a_token(text: str = "jwt", life: int = 300) -> Reply:
    return Reply(200, {"access_token": text, "token_type": "Bearer", "expires_in": life, "scope": "read"})


class Answering:
    """Gives *replies* by path, one after the other; the last one of a path over and over."""

    def __init__(self, replies: Mapping[str, list[Reply]] | None = None) -> None:
        self.replies = {path: deque(each) for path, each in (replies or {}).items()}
        self.asked: list[Asked] = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("H", (_Handler,), {"owner": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """Its base."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def issuer(self) -> str:
        """The base of its token endpoint."""
        return f"{self.url}/sts"

    def asked_for(self, path: str) -> list[Asked]:
        """Return the requests to that path."""
        return [each for each in self.asked if each.path == path]

    def answer(self, asked: Asked) -> Reply:
        """Return what comes next."""
        self.asked.append(asked)
        replies = self.replies.get(asked.path)
        if not replies:
            return Reply(404)
        return replies.popleft() if len(replies) > 1 else replies[0]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    owner: ClassVar[Answering]

    def _any(self) -> None:
        asked = Asked(self.command, self.path, dict(self.headers.items()), self._body())
        reply = self.owner.answer(asked)
        body = json.dumps(reply.document).encode() if reply.body is None else reply.body
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._any()

    def do_POST(self) -> None:
        self._any()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while length := int(self.rfile.readline(), 16):
            body += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, *_: object) -> None:
        """Say nothing."""
