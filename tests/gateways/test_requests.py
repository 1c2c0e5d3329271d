"""What a client asks is what the service gets: method, path, query and body; and nobody but the service gets it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from gateways.client import bearer
from gateways.echo import FIRST, SECOND

if TYPE_CHECKING:
    from gateways.scene import Place

MEGABYTE = bytes(range(256)) * 4_096
TARGETS = (
    "/",
    "/orders",
    "/orders/",
    "/orders/7?a=1&a=2",
    "/orders?",
    "/orders?a=%2F%2e%2e&b=c+d&c=%C3%A9&=&next=http://x/?y",
    "/a%20b/c%C3%A9/%7B7%7D",
    "/a+b,c@d:e=f!g$h&i'(j)*",
    "/sts/verify",
    "/sts/token?grant_type=client_credentials",
    "/" + "long/" * 400,
)
KEYSTILES = (
    "/sts/verify",
    "/sts/verify/",
    "/sts/gate/nginx",
    "/sts/token",
    "/sts/introspect",
    "/sts/api/v1/keys",
    "/sts/jwks.json",
    "/_keystile",
    "/_keystile/",
    "/readyz",
    "/metrics",
    "/x/../sts/verify",
    "/x/..%2fsts/verify",
    "//sts/verify",
)


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("GET", None),
        ("HEAD", None),
        ("OPTIONS", None),
        ("DELETE", None),
        ("DELETE", b"{}"),
        ("POST", b""),
        ("POST", MEGABYTE),
        ("PUT", MEGABYTE),
        ("PATCH", b'{"a": 1}'),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value or b'')} bytes",
)
def test_method_and_body_arrive_unchanged(place: Place, method: str, body: bytes | None) -> None:
    """Every method arrives as it is, with its body whole, and the service's answer comes back."""
    answer = place.client.send(method, "/orders/7?a=1&a=2", bearer(place.keystile.key), body=body)
    received = answer.upstream
    assert received is not None
    assert answer.status == 200
    assert (received.method, received.target) == (method, "/orders/7?a=1&a=2")
    assert (received.body_length, received.body_sha256) == (len(body or b""), hashlib.sha256(body or b"").hexdigest())


def test_a_chunked_body_arrives_whole(place: Place) -> None:
    """A body of unknown length arrives as it was sent."""
    parts = [b"a" * 10, MEGABYTE[:70_000]]
    received = place.client.send("POST", "/orders", bearer(place.keystile.key), body=parts).upstream
    assert received is not None
    assert received.body_sha256 == hashlib.sha256(b"".join(parts)).hexdigest()


def test_path_and_query_arrive_unchanged(place: Place) -> None:
    """Escapes, slashes, repeated and empty parameters arrive byte for byte, and so do paths that are Keystile's own."""
    key = place.keystile.key
    for target in TARGETS:
        received = place.client.get(target, bearer(key)).upstream
        assert received is not None, target
        assert received.target == target


def test_other_headers_arrive_unchanged(place: Place) -> None:
    """What is not about identity is the service's own business."""
    sent = (("Accept", "text/plain"), ("Content-Type", "text/json"), ("X-Custom", "a, b"), ("Cookie", "a=b; c=d"))
    received = place.client.send("POST", "/", bearer(place.keystile.key), *sent, body=b"{}").upstream
    assert received is not None
    for name, value in sent:
        assert received.values(name) == [value]


def test_who_waits_for_a_word_before_the_body_gets_it(place: Place) -> None:
    """RFC 9110, 10.1.1: `Expect: 100-continue` delays nothing and stops nothing."""
    expecting = ("Expect", "100-continue")
    received = place.client.send("POST", "/", bearer(place.keystile.key), expecting, body=MEGABYTE).upstream
    assert received is not None
    assert received.body_length == len(MEGABYTE)
    assert place.client.send("POST", "/", expecting, body=b"x").status == 401


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
def test_no_connection_is_taken_over(place: Place, protocol: str) -> None:
    """What comes after an upgrade would be asked about by nobody: the service is never offered one."""
    upgrade = (("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", protocol), ("HTTP2-Settings", "AAMAAABk"))
    answer = place.client.get("/", *upgrade, bearer(place.keystile.key))
    if answer.upstream is None:
        assert answer.status in (400, 403, 426)
    else:
        assert answer.upstream.values("upgrade") == []
        assert "upgrade" not in str(answer.upstream.values("connection")).lower()


def test_events_are_not_held_back(place: Place) -> None:
    """A stream of events, as MCP servers send it, comes through event by event."""
    assert place.client.read_events(bearer(place.keystile.key)) == (FIRST, SECOND)


def test_nobody_reaches_keystile_through_the_gateway(place: Place) -> None:
    """With a key, Keystile's own paths lead to the service or nowhere; without one, nowhere. No client sees a JWT."""
    key = place.keystile.key
    for target in KEYSTILES:
        assert place.client.get(target).upstream is None, target
        for method in ("GET", "POST"):
            answer = place.client.send(method, target, bearer(key), body=b"" if method == "POST" else None)
            assert answer.upstream is not None or answer.status in (400, 401, 403, 404), (target, answer)
            assert answer.header("authorization") is None
            assert answer.header("x-auth-subject") is None
            assert b"eyJ" not in answer.body
