"""The little of ASGI that the doors need: bounded bodies in, whole answers out."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from keystile.errors import RequestError
from keystile.http.patience import Patience

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

MAX_BODY = 16_384  # bytes
_PATIENCE = Patience(10.0)  # seconds for a whole body
_MAX_DIGITS = 20
_encode = json.JSONEncoder(separators=(",", ":")).encode  # made once: json.dumps makes one for each document
NO_STORE: tuple[Header, ...] = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))
_JSON: Header = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, its bytes made once."""

    status: int
    headers: tuple[Header, ...]
    body: bytes = b""

    async def send(self, send: Send, *, head: bool = False) -> None:
        """Send it, without the body for HEAD."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": b"" if head else self.body})


def json_answer(status: int, document: dict[str, Any], *headers: Header) -> Answer:
    """Return *document* as an answer that nobody may store."""
    body = _encode(document).encode()
    length = (b"content-length", str(len(body)).encode())
    return Answer(status, (_JSON, length, *NO_STORE, *headers), body)


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """Return the request's body; more than 16 KB, announced or not, is a 413 and is not read."""
    announced = header(scope, b"content-length")
    # Looked at as text first: int() itself raises on more digits than anybody needs.
    if announced is not None and (not announced.isdigit() or len(announced) > _MAX_DIGITS or int(announced) > MAX_BODY):
        raise RequestError("invalid_request", "the body is too large", status=413)
    try:
        return await _PATIENCE.wait(_read_all(receive, None if announced is None else int(announced)))
    except TimeoutError as error:
        raise RequestError("invalid_request", "the body did not come in time", status=408) from error


async def _read_all(receive: Receive, announced: int | None) -> bytes:
    body = b""
    more = True
    # The server would say in one more message that all has come: a wait of its own, in another thread.
    while more and len(body) != announced:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY:
            raise RequestError("invalid_request", "the body is too large", status=413)
    return body


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the first header of that lower-case name."""
    pairs: Iterable[Header] = scope["headers"]
    for key, value in pairs:
        if key == name:
            return value
    return None


def headers(scope: Scope, name: bytes) -> list[bytes]:
    """Return all headers of that lower-case name, in order."""
    return [value for key, value in scope["headers"] if key == name]
