"""One request on a connection of its own: what one worker or server holds open shows in no other answer."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

from stack.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Mapping

_PATIENCE = 15.0  # seconds


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer; *headers* have lower-case names."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:  # noqa: ANN401 - JSON
        """Return the body as what it says."""
        return json.loads(self.body)


def ask(port: int, path: str, headers: Mapping[str, str] | None = None, *, method: str = "GET") -> Reply:
    """Return the whole answer. Raises `OSError` or `HTTPException` if there is none."""
    connection = HTTPConnection(LOOPBACK, port, timeout=_PATIENCE)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()
