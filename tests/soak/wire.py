"""HTTP requests at the least cost to this side: prepared bytes, kept connections, one thread and one epoll."""

from __future__ import annotations

import re
import select
import socket
import time
from collections import defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stack.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CONNECT_WITHIN = 0.5  # seconds
_SWEEP_EVERY = 0.5  # seconds between looks for requests that nobody answers
_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, and when; *status* of None: the connection ended, or nobody answered in time."""

    status: int | None
    sent: float
    received: float
    head: bytes = b""
    body: bytes = b""

    def headers(self) -> dict[str, str]:
        """Return the headers, with lower-case names."""
        lines = (line.partition(": ") for line in self.head.decode("latin-1").split("\r\n")[1:])
        return {name.lower(): value for name, _, value in lines}


class Connection:
    """One kept connection with at most one request under way."""

    __slots__ = ("buffer", "length", "port", "sent", "socket", "then")

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket = socket.create_connection((LOOPBACK, port), _CONNECT_WITHIN)
        self.socket.settimeout(0)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.length = -1  # of the whole reply, once its head is here
        self.sent = 0.0
        self.then: Callable[[Reply], None] | None = None

    def start(self, request: bytes, then: Callable[[Reply], None]) -> None:
        """Send *request*; raises OSError if the connection is gone."""
        self.then = then
        self.sent = time.monotonic()
        self.socket.sendall(request)  # a request is far smaller than the socket's buffer

    def reply(self) -> Reply | None:
        """Return the reply if it is whole."""
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        if self.length < 0:
            match = _LENGTH.search(self.buffer, 0, end)
            self.length = end + 4 + (int(match[1]) if match else 0)
        if len(self.buffer) < self.length:
            return None
        received, head, body = time.monotonic(), self.buffer[:end], self.buffer[end + 4 : self.length]
        self.buffer, self.length = b"", -1
        return Reply(int(head[9:12]), self.sent, received, head, body)


class Wire:
    """Connections to any number of local ports; `turn` does what there is to do and calls back with replies.

    At most *connections* to each port are open; what finds them all busy waits in line, and its time counts from
    when it is sent. *patience*: seconds after which no answer is an answer too.
    """

    def __init__(self, *, connections: int = 1_000, patience: float = 15.0) -> None:
        self.longest_line = 0
        self.under_way = 0
        self._most = connections
        self._patience = patience
        self._poll = select.epoll()
        self._open: dict[int, Connection] = {}
        self._count: dict[int, int] = defaultdict(int)
        self._idle: dict[int, list[Connection]] = defaultdict(list)
        self._line: dict[int, deque[tuple[bytes, Callable[[Reply], None]]]] = defaultdict(deque)
        self._swept_at = 0.0

    @property
    def in_line(self) -> int:
        """How many requests wait for a connection."""
        return sum(map(len, self._line.values()))

    def ask(self, port: int, request: bytes, then: Callable[[Reply], None]) -> None:
        """Send *request* as soon as there is a connection for it."""
        self.under_way += 1
        if self._idle[port] or self._count[port] < self._most:
            self._send(port, request, then)
        else:
            self._line[port].append((request, then))
            self.longest_line = max(self.longest_line, len(self._line[port]))

    def turn(self, timeout: float) -> None:
        """Wait at most *timeout* seconds for something to happen, and see to it."""
        for descriptor, _ in self._poll.poll(max(timeout, 0), 256):
            connection = self._open.get(descriptor)
            if connection is not None:
                self._receive(connection)
        now = time.monotonic()
        if now > self._swept_at + _SWEEP_EVERY:
            self._swept_at = now
            self._sweep(now - self._patience)

    def close(self) -> None:
        """Close all connections; what is under way is forgotten."""
        for connection in self._open.values():
            connection.socket.close()
        self._poll.close()

    def _send(self, port: int, request: bytes, then: Callable[[Reply], None]) -> None:
        try:
            connection = self._idle[port].pop() if self._idle[port] else self._connect(port)
        except OSError:
            self._finish(then, Reply(None, time.monotonic(), time.monotonic()))
            return
        try:
            connection.start(request, then)
        except OSError:
            self._end(connection)

    def _connect(self, port: int) -> Connection:
        connection = Connection(port)
        descriptor = connection.socket.fileno()
        self._open[descriptor] = connection
        self._count[port] += 1
        self._poll.register(descriptor, select.EPOLLIN)
        return connection

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(connection)
            self._serve_line(connection.port)
            return
        connection.buffer += data
        reply = connection.reply()
        if reply is not None and connection.then is not None:
            then, connection.then = connection.then, None
            self._idle[connection.port].append(connection)
            self._finish(then, reply)
            self._serve_line(connection.port)

    def _end(self, connection: Connection) -> None:
        descriptor = connection.socket.fileno()
        self._poll.unregister(descriptor)
        del self._open[descriptor]
        connection.socket.close()
        self._count[connection.port] -= 1
        if connection.then is None:
            with suppress(ValueError):
                self._idle[connection.port].remove(connection)
        else:
            self._finish(connection.then, Reply(None, connection.sent, time.monotonic()))

    def _serve_line(self, port: int) -> None:
        line = self._line[port]
        while line and (self._idle[port] or self._count[port] < self._most):
            self._send(port, *line.popleft())

    def _finish(self, then: Callable[[Reply], None], reply: Reply) -> None:
        self.under_way -= 1
        then(reply)

    def _sweep(self, sent_before: float) -> None:
        for connection in list(self._open.values()):
            if connection.then is not None and connection.sent < sent_before:
                self._end(connection)
                self._serve_line(connection.port)
