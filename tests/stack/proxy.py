"""A wire in front of one server that can be slowed, cut, silenced, or made to answer by itself, at any moment."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

from stack.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

_CHUNK = 65_536
_BACKLOG = 1_024
_PATIENCE = 10.0  # seconds for the proxy's own thread to do what it is told


@dataclass(frozen=True, slots=True)
class _Fault:
    """What is wrong with the wire; nothing, by default."""

    delay: float = 0.0
    drops_requests: bool = False
    drops_answers: bool = False
    refuses: bool = False
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(eq=False, slots=True)
class _Wire:
    """One client's connection, and the one to the server behind it."""

    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    lossy: bool = False

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class Proxy:
    """A port of the loopback address whose connections end at *server_port*; `with` opens and closes it.

    It works in a thread of its own, and each method returns when its fault is in force. What a silent wire
    swallowed is lost: `resume` closes the connections that lost something and lets the others go on.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._fault = _Fault()
        self._changed = asyncio.Event()
        self._wires: set[_Wire] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        # Bound for good and never listening: nobody else gets the port while the wire is cut.
        self._anchor = _bound_socket(0)
        self.port: int = self._anchor.getsockname()[1]

    def delay(self, seconds: float) -> None:
        """Pass everything on, each chunk so much later, in both directions."""
        self._set(_Fault(delay=seconds))

    def cut(self) -> None:
        """Close all connections and refuse new ones."""
        self._set(_Fault(refuses=True), cuts=True)

    def blackhole(self) -> None:
        """Accept connections and read from both sides, and pass nothing on."""
        self._set(_Fault(drops_requests=True, drops_answers=True))

    def half_open(self) -> None:
        """Pass on what clients send, and nothing of what the server answers."""
        self._set(_Fault(drops_answers=True))

    def answer(self, status: int, *headers: tuple[str, str]) -> None:
        """Answer every HTTP request with *status* and *headers*, without asking the server."""
        self._set(_Fault(status=status, headers=headers), cuts=True)

    def resume(self) -> None:
        """Pass everything on at once."""
        self._set(_Fault(), cuts=bool(self._fault.status))

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._wires)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        self._loop.close()
        self._anchor.close()

    def _set(self, fault: _Fault, *, cuts: bool = False) -> None:
        self._do(self._become(fault, cuts=cuts))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)

    async def _become(self, fault: _Fault, *, cuts: bool) -> None:
        self._fault = fault
        before, self._changed = self._changed, asyncio.Event()
        before.set()
        for wire in list(self._wires):
            if cuts or (wire.lossy and fault == _Fault()):
                wire.cut()
        if fault.refuses:
            self._deafen()
        elif self._listener is None:
            await self._listen()

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._connected, sock=_bound_socket(self.port), backlog=_BACKLOG)

    def _deafen(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _close(self) -> None:
        self._deafen()
        for wire in self._wires:
            wire.cut()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        wire = _Wire([writer])
        if task is None or self._fault.refuses:  # it was in the queue when the wire was cut
            wire.cut()
            return
        self._wires.add(wire)
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await (self._answer(reader, writer) if self._fault.status else self._join(wire, reader, writer))
        finally:
            wire.cut()
            self._wires.discard(wire)
            self._tasks.discard(task)

    async def _join(self, wire: _Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, out = await asyncio.open_connection(LOOPBACK, self._server_port)
        wire.writers.append(out)
        pumps = (self._pump(wire, reader, out, answers=False), self._pump(wire, there, writer, answers=True))
        await asyncio.gather(*pumps)

    async def _pump(
        self, wire: _Wire, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        while True:
            data = await source.read(_CHUNK)
            if await self._is_lost(answers=answers):
                wire.lossy = True
                if not data:  # the other side is not told of the end either
                    await asyncio.Event().wait()
            elif data:
                sink.write(data)
                await sink.drain()
            else:
                sink.write_eof()
                return

    async def _is_lost(self, *, answers: bool) -> bool:
        """Wait as long as the wire is slow, and tell whether it swallows the chunk then."""
        fault = None
        while fault is not self._fault:
            fault = self._fault
            if fault.delay:
                with suppress(TimeoutError):
                    async with asyncio.timeout(fault.delay):
                        await self._changed.wait()
        return fault.drops_answers if answers else fault.drops_requests

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        status = HTTPStatus(self._fault.status)
        headers = "".join(f"{name}: {value}\r\n" for name, value in (*self._fault.headers, ("Content-Length", "0")))
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_content_length(head))
            writer.write(f"HTTP/1.1 {status.value} {status.phrase}\r\n{headers}\r\n".encode())
            await writer.drain()


def _bound_socket(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((LOOPBACK, port))
    return bound


def _content_length(head: bytes) -> int:
    fields = (line.partition(b":") for line in head.lower().split(b"\r\n"))
    return next((int(value) for name, _, value in fields if name == b"content-length"), 0)
