"""The wire to break: each fault does what its name says, at once, and is over when it is told so."""

from __future__ import annotations

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import httpx
import pytest

from stack.ports import LOOPBACK
from stack.processes import wait_until
from stack.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

_SILENT = 0.3  # seconds without a byte that count as silence


class Echo:
    """A server that sends back what it gets, and remembers it."""

    def __init__(self) -> None:
        self.heard = b""
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Stop listening, and wait until every client is gone."""
        if self._listener.fileno() >= 0:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._echo, args=(connection,), daemon=True))
            self._threads[-1].start()

    def _echo(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(1024):
                    self.heard += data
                    connection.sendall(data)
            except OSError:
                return


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with _connect(proxy) as client:
        assert _said(client, b"hello") == b"hello"
        yield client


def test_it_passes_on_what_both_sides_say(client: socket.socket, echo: Echo) -> None:
    """Without a fault everything goes through, and the end of one side is the end of the other."""
    assert _said(client, b"x" * 100_000) == b"x" * 100_000
    client.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    assert len(echo.heard) == 100_005


def test_a_slow_wire_delays_both_directions(client: socket.socket, proxy: Proxy) -> None:
    """Each chunk comes late, there and back."""
    proxy.delay(0.2)
    began_at = time.monotonic()
    assert _said(client, b"slow") == b"slow"
    assert time.monotonic() - began_at >= 0.4


def test_what_a_slow_wire_holds_comes_when_it_is_fast_again(client: socket.socket, proxy: Proxy) -> None:
    """Nobody waits out a delay that is over."""
    proxy.delay(60)
    client.sendall(b"held")
    proxy.resume()
    assert _received(client, 4) == b"held"


def test_a_cut_wire_closes_and_refuses(client: socket.socket, proxy: Proxy) -> None:
    """Open connections end, new ones are refused, and after `resume` the same port answers again."""
    proxy.cut()
    assert _has_ended(client)
    with pytest.raises(ConnectionRefusedError):
        _connect(proxy)
    proxy.resume()
    with _connect(proxy) as fresh:
        assert _said(fresh, b"again") == b"again"


def test_a_blackhole_swallows_and_says_nothing(client: socket.socket, proxy: Proxy, echo: Echo) -> None:
    """Open and new connections are silent, the server hears nothing, and what was lost is never heard."""
    proxy.blackhole()
    with _connect(proxy) as fresh:
        for connection in (client, fresh):
            connection.sendall(b"lost")
            assert _is_silent(connection)
        proxy.resume()
        for connection in (client, fresh):
            assert _has_ended(connection)
    assert echo.heard == b"hello"


def test_an_idle_connection_survives_a_blackhole(client: socket.socket, proxy: Proxy) -> None:
    """Who said nothing meanwhile has lost nothing, and goes on."""
    proxy.blackhole()
    proxy.resume()
    assert _said(client, b"still here") == b"still here"


def test_a_half_open_wire_loses_answers_alone(client: socket.socket, proxy: Proxy, echo: Echo) -> None:
    """The server hears and answers, the client waits on an open connection."""
    proxy.half_open()
    client.sendall(b"heard")
    assert wait_until(lambda: echo.heard == b"helloheard", 5)
    assert _is_silent(client)
    assert proxy.connections == 1


def test_a_server_that_is_away_ends_the_connection(echo: Echo) -> None:
    """Behind a whole wire, a server that refuses is a connection that ends."""
    echo.close()
    with Proxy(echo.port) as proxy, _connect(proxy) as client:
        assert _has_ended(client)


def test_it_answers_for_the_server() -> None:
    """Told a status, it answers every HTTP request with it, bodies included, and the server sees none."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with Proxy(server.server_port) as proxy, httpx.Client(base_url=f"http://{LOOPBACK}:{proxy.port}") as http:
            proxy.answer(500)
            answers = [http.get("/a"), http.post("/b", content=b"y" * 200_000), http.put("/c", content=b"z")]
            proxy.resume()
            assert http.get("/d").status_code == 204
        server.shutdown()
    assert [answer.status_code for answer in answers] == [500, 500, 500]
    assert seen == ["/d"]


def _connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection((LOOPBACK, proxy.port), timeout=10)


def _said(connection: socket.socket, text: bytes) -> bytes:
    connection.sendall(text)
    return _received(connection, len(text))


def _received(connection: socket.socket, length: int) -> bytes:
    received = b""
    while len(received) < length:
        received += connection.recv(length - len(received))
    return received


def _has_ended(connection: socket.socket) -> bool:
    try:
        return not connection.recv(1)
    except ConnectionResetError:
        return True


def _is_silent(connection: socket.socket) -> bool:
    connection.settimeout(_SILENT)
    try:
        return not connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(10)
