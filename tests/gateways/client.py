"""A client of a gateway that sends exactly what it is told to, from the address it is told to."""

from __future__ import annotations

import base64
from contextlib import closing
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from typing import TYPE_CHECKING

from gateways.echo import EVENTS, MARK
from stack.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateways.echo import Echo, Received

Headers = tuple[tuple[str, str], ...]
# Not Keystile's trusted proxy, which is 127.0.0.1. Linux answers on all of 127.0.0.0/8.
ADDRESS, STRANGER = "127.0.0.2", "127.0.0.3"
_PATIENCE = 60.0  # seconds


@dataclass(frozen=True)
class Answer:
    """What a client got, and what the service behind the gateway received for it: nothing, if it was refused."""

    status: int
    headers: Headers
    body: bytes
    upstream: Received | None = None

    def header(self, name: str) -> str | None:
        """Return the one value of a header, None if there is none."""
        values = [value for given, value in self.headers if given.lower() == name.lower()]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None


@dataclass(frozen=True)
class Client:
    """Asks the gateway on *port*, behind which *echo* is the service."""

    port: int
    echo: Echo

    def send(
        self,
        method: str,
        target: str,
        *headers: tuple[str, str],
        body: bytes | list[bytes] | None = None,
        address: str = ADDRESS,
    ) -> Answer:
        """Send one request; no header is added but `Host` and what tells the body's length. A list goes in chunks."""
        before = len(self.echo.received)
        answer = self._ask(method, target, (*headers, *_length(body)), body, address)
        received = self.echo.received[before:]
        assert len(received) == (1 if answer.header(MARK) else 0), (answer, received)
        return replace(answer, upstream=received[0] if received else None)

    def on_one_connection(self, *requests: Headers) -> list[int]:
        """Send GETs with such headers one after the other on one connection; return the statuses."""
        with closing(HTTPConnection(LOOPBACK, self.port, timeout=_PATIENCE)) as connection:
            return [_status(connection, headers) for headers in requests]

    def read_events(self, *headers: tuple[str, str]) -> tuple[bytes, bytes]:
        """Ask for the service's events; return what came before the service was told to go on, and the rest."""
        self.echo.go_on.clear()
        with closing(HTTPConnection(LOOPBACK, self.port, timeout=_PATIENCE)) as connection:
            connection.request("GET", EVENTS, headers=dict(headers))
            response = connection.getresponse()
            first = response.read1()
            self.echo.go_on.set()
            return first, response.read()

    def status(self, target: str, *headers: tuple[str, str]) -> int:
        """Return the status alone, of one request of several at once."""
        return self._ask("GET", target, headers, None, ADDRESS).status

    def _ask(
        self, method: str, target: str, headers: Headers, body: bytes | list[bytes] | None, address: str
    ) -> Answer:
        with closing(HTTPConnection(LOOPBACK, self.port, timeout=_PATIENCE, source_address=(address, 0))) as connection:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders(body, encode_chunked=isinstance(body, list))
            response = connection.getresponse()
            return Answer(response.status, tuple(response.getheaders()), response.read())

    def get(self, target: str, *headers: tuple[str, str], address: str = ADDRESS) -> Answer:
        """Send a GET."""
        return self.send("GET", target, *headers, address=address)


def bearer(key: Mapping[str, str]) -> tuple[str, str]:
    """Return the header that presents a key as a bearer token."""
    return "Authorization", f"Bearer {key['api_key']}"


def ways_to_present(key: Mapping[str, str]) -> Iterable[Headers]:
    """Return each way of presenting a key in headers."""
    basic = base64.b64encode(f"{key['key_id']}:{key['api_key']}".encode()).decode()
    yield (bearer(key),)
    yield (("authorization", f"bearer {key['api_key']}"),)
    yield (("X-API-Key", key["api_key"]),)
    yield (("x-api-key", key["api_key"]),)
    yield (bearer(key), ("X-Api-Key", key["api_key"]))
    yield (("Authorization", f"Basic {basic}"),)


def _length(body: bytes | list[bytes] | None) -> Headers:
    if body is None:
        return ()
    return (("Transfer-Encoding", "chunked"),) if isinstance(body, list) else (("Content-Length", str(len(body))),)


def _status(connection: HTTPConnection, headers: Headers) -> int:
    connection.request("GET", "/", headers=dict(headers))
    response = connection.getresponse()
    response.read()
    return response.status
