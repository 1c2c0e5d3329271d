"""Clients that mean harm or do not know better: others do not notice."""

from __future__ import annotations

import resource
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from faults.asking import ask
from faults.faulty_world import Held
from faults.issuing import unknown_key
from keystile.keys import OLDER_BRAND
from stack import KeystileServer
from stack.ports import LOOPBACK
from truth import Stranger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faults.asking import Reply
    from faults.faulty_world import FaultyWorld

_SLOW = 2_000  # connections
_USUAL_FILES = 1_024  # open files a process is allowed on most systems, unless it asks for more
_NOISY, _QUIET = "203.0.113.7", "198.51.100.7"
_FAILURES = 20


@contextmanager
def open_files(soft: int) -> Iterator[None]:
    """Allow this process, and those it starts, so many open files."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


@pytest.mark.parametrize("said", [b"", b"GET /sts/ver", b"POST /sts/token HTTP/1.1\r\nContent-Length: 99\r\n\r\ngrant"])
def test_two_thousand_slow_connections_keep_nobody_out(faulty: FaultyWorld, said: bytes) -> None:
    """Whatever 2,000 clients began and never finish, known keys and new connections are answered at once."""
    with open_files(_USUAL_FILES), ExitStack() as stack:
        server = stack.enter_context(
            KeystileServer(faulty.world.environment, log_path=faulty.world.folder / "slow.log")
        )
        stack.enter_context(open_files(_SLOW + _USUAL_FILES))
        faulty.ask_until(faulty.known, 200, server=server)
        for _ in range(_SLOW):
            connection = stack.enter_context(socket.create_connection((LOOPBACK, server.port), timeout=5))
            connection.sendall(said)
        for _ in range(20):
            began_at = time.monotonic()
            assert faulty.status(faulty.known, server) == 200
            assert time.monotonic() - began_at < 3, "it stood in a line"
        assert faulty.readiness(server)[0] == 200


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
def test_a_body_that_is_too_large_is_refused(faulty: FaultyWorld, *, chunked: bool) -> None:
    """More than 16 KB, announced or not, is 413 where a body is read, and the server goes on."""
    body = b"x" * 200_000
    framed = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    request = b"POST /sts/token HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n" % length
    assert _status_of(faulty.world.server.port, request + framed) == 413
    assert faulty.status(faulty.known) == 200


def test_a_huge_announced_body_is_refused_unread(faulty: FaultyWorld) -> None:
    """Whoever announces a terabyte is refused before sending it."""
    request = b"POST /sts/token HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n"
    assert _status_of(faulty.world.server.port, request) == 413


@pytest.mark.parametrize(
    "header",
    [b"X-Large: " + b"y" * 200_000, b"\r\n".join(b"X-%d: y" % number for number in range(5_000))],
    ids=["one", "many"],
)
def test_headers_that_are_too_large_are_refused(faulty: FaultyWorld, header: bytes) -> None:
    """A head without end is refused with 4xx, or the connection ends; the server goes on."""
    request = b"GET /sts/verify HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n"
    assert _status_of(faulty.world.server.port, request) in {400, 413, 431, None}
    assert faulty.status(faulty.known) == 200


def test_one_noisy_address_limits_itself_alone(faulty: FaultyWorld) -> None:
    """Whose look-ups fail too often gets 429, unless the key is ours; the address beside it notices nothing."""
    more = {"KEYSTILE_TRUSTED_PROXIES": "127.0.0.0/8", "KEYSTILE_FAILURES_PER_MINUTE": str(_FAILURES)}
    environment = faulty.world.environment | more
    noisy, quiet = {"X-Forwarded-For": _NOISY}, {"X-Forwarded-For": _QUIET}
    with KeystileServer(environment, log_path=faulty.world.folder / "noisy.log") as server:
        known, cold, other = faulty.new_key(), faulty.new_key(), faulty.new_key()
        assert faulty.status(known, server, **noisy) == 200
        _fail(faulty, server, [noisy] * _FAILURES)
        limited = _ask_older(server, f"{OLDER_BRAND}_live_{'n' * 43}", noisy)
        assert (limited.status, int(limited.headers["retry-after"]) >= 1) == (429, True)
        assert {faulty.status(held, server, **noisy) for held in (known, cold)} == {200}
        assert faulty.status(faulty.forged, server, **noisy) == 401
        assert faulty.status(other, server, **quiet) == 200
        assert _ask_older(server, f"{OLDER_BRAND}_live_{'q' * 43}", quiet).status in {401, 503}


def test_an_address_cannot_be_borrowed(faulty: FaultyWorld) -> None:
    """Without trusted proxies the header that names an address is nobody's word: failures are the sender's own."""
    environment = faulty.world.environment | {"KEYSTILE_FAILURES_PER_MINUTE": str(_FAILURES)}
    with KeystileServer(environment, log_path=faulty.world.folder / "borrowed.log") as server:
        _fail(faulty, server, [{"X-Forwarded-For": f"203.0.113.{number}"} for number in range(_FAILURES)])
        assert _ask_older(server, f"{OLDER_BRAND}_live_{'b' * 43}", {"X-Forwarded-For": _QUIET}).status == 429


def _fail(faulty: FaultyWorld, server: KeystileServer, senders: list[dict[str, str]]) -> None:
    """Present a key of nobody's for each of *senders*, all at once: it is looked up, and not found."""

    def present(sender: dict[str, str]) -> int | None:
        held = Held(unknown_key(faulty.world.environment), Stranger.UNKNOWN)
        return faulty.status(held, server, **sender)

    with ThreadPoolExecutor(len(senders)) as crowd:
        assert set(crowd.map(present, senders)) == {401}


def _ask_older(server: KeystileServer, key: str, headers: dict[str, str]) -> Reply:
    return ask(server.port, "/sts/verify", {"X-API-Key": key, **headers})


def _status_of(port: int, request: bytes) -> int | None:
    """Return the status, or None where the connection ended without one."""
    with socket.create_connection((LOOPBACK, port), timeout=10) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # it does not read to the end: what did it say?
            connection.sendall(request)
        try:
            answer = connection.recv(4096)
        except ConnectionResetError:
            return None
    return int(answer.split(b" ", 2)[1]) if answer else None
