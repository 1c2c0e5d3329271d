"""Load at a rate of its own, whatever the server does: latency counts from when a request was due.

So a server that stalls is charged for everybody who would have come meanwhile ("coordinated omission").
"""

from __future__ import annotations

import gc
import math
import re
import select
import socket
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from stack.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Sequence

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)")
_STATUS = slice(9, 12)
_SILENCE = 30.0  # seconds without any answer
_SPIN = 0.001  # seconds: the kernel sleeps in whole milliseconds
_LEAD = 0.005  # seconds from the call to the first request


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: *at* and *seconds* count from the start and from when its request was due."""

    status: int
    at: float
    seconds: float
    retry_after: bool


class Pace:
    """Connections to *port* that stay open over several runs; *connections* bounds the requests under way."""

    def __init__(self, port: int, connections: int) -> None:
        self._port = port
        self._count = connections
        self._poll = select.epoll()
        self._open: dict[int, _Connection] = {}

    def run(self, requests: Sequence[bytes], rate: float = math.inf) -> list[Answer]:
        """Send each request once, *rate* a second, evenly; raise AssertionError if one is not answered."""
        self._connect()
        gc.disable()
        try:
            return self._run(requests, 1 / rate)
        finally:
            gc.enable()

    def _run(self, requests: Sequence[bytes], gap: float) -> list[Answer]:
        answers: list[Answer] = []
        free = deque(self._open.values())
        began, sent = time.perf_counter() + _LEAD, 0
        while len(answers) < len(requests):
            due = began + sent * gap
            while free and sent < len(requests) and due <= time.perf_counter():
                free.popleft().send(requests[sent], due)
                sent += 1
                due = began + sent * gap
            waits = free and sent < len(requests)
            events = self._poll.poll(_pause(due) if waits else _SILENCE)
            assert events or waits, f"nothing was answered for {_SILENCE} s"
            for descriptor, _ in events:
                connection = self._open[descriptor]
                if connection.receive():
                    answers.append(connection.answer(began))
                    free.append(connection)
        return answers

    def _connect(self) -> None:
        for connection in [one for one in self._open.values() if one.is_stale()]:
            self._poll.unregister(connection.fileno())
            del self._open[connection.fileno()]
            connection.close()
        while len(self._open) < self._count:
            connection = _Connection(self._port)
            self._poll.register(connection.fileno(), select.EPOLLIN)
            self._open[connection.fileno()] = connection

    def __enter__(self) -> Self:
        self._connect()
        return self

    def __exit__(self, *_error: object) -> None:
        self._poll.close()
        for connection in self._open.values():
            connection.close()


class _Connection:
    """One connection, with at most one request under way."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((LOOPBACK, port), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)  # noqa: FBT003 - the library's own signature
        self._received = b""
        self._due = 0.0
        self._busy = False

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, request: bytes, due: float) -> None:
        self._received, self._due, self._busy = b"", due, True
        assert self._socket.send(request) == len(request), "a request did not fit into an empty buffer"

    def receive(self) -> bool:
        """Take what has come; tell whether the answer is whole."""
        more = self._socket.recv(65536)
        assert more, "the server closed a connection"
        assert self._busy, "the server spoke unasked"
        self._received += more
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head.lower())
        whole = len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n")
        self._busy = not (end and whole)
        return not self._busy

    def answer(self, began: float) -> Answer:
        now = time.perf_counter()
        retry_after = b"\r\nretry-after:" in self._received.lower()
        return Answer(int(self._received[_STATUS]), now - began, now - self._due, retry_after)

    def is_stale(self) -> bool:
        """Tell whether the server has closed it since its last answer."""
        try:
            return not self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except ConnectionError:
            return True

    def close(self) -> None:
        self._socket.close()


def percentile(values: Sequence[float], part: float) -> float:
    """Return the smallest of *values* that at least *part* of them do not exceed."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]


def _pause(due: float) -> float:
    left = due - time.perf_counter()
    return 0 if left < _SPIN else math.floor(left * 1000) / 1000
