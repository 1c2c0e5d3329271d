"""nginx's verdict cache: it keeps what Keystile's `Cache-Control` allows, for that long, and no key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateways.client import STRANGER, bearer
from gateways.programs import CachingNginx, CachingNginxAtAGate
from gateways.scene import ORDERS, Place
from gateways.test_identity import AS_MANY_SCOPES_AS_FIT
from gateways.test_secrecy import secrets_of
from stack.processes import wait_until
from unit.test_verify_door import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateways.client import Headers
    from gateways.scene import Scene

TOKEN = "eyJ.of.nobody"


@pytest.fixture(scope="module")
def caching(scene: Scene) -> Iterator[CachingNginx]:
    """Run nginx with the cache, on the wire of the other nginx."""
    wire = scene.keystile.wires["x-forwarded"]
    folder = scene.folder / "caching"
    with CachingNginx.running(folder, keystile=wire.port, service=scene.echo.port) as gateway:
        yield gateway


@pytest.fixture
def place(scene: Scene, caching: CachingNginx) -> Iterator[Place]:
    """Return its place; nothing is told on the wire afterwards."""
    place = Place(caching, scene)
    yield place
    place.wire.resume()


def allowed_for(seconds: int) -> Headers:
    """Return what a gate says that lets its answers be kept."""
    identity = tuple((name, "told") for name in IDENTITY)
    return ("Authorization", f"Bearer {TOKEN}"), *identity, ("Cache-Control", f"max-age={seconds}")


def test_nothing_is_kept_unless_keystile_allows_it(place: Place) -> None:
    """The gate that is built in says `no-store`: the next request is asked about, and refused when nobody answers."""
    assert place.client.get("/", bearer(place.keystile.key)).status == 200
    place.wire.cut()
    assert place.client.get("/", bearer(place.keystile.key)).status == 503


def test_a_large_jwt_goes_through(place: Place) -> None:
    """What a gateway is told of a key with many scopes is the same with the cache between."""
    assert place.client.get("/", bearer(place.keystile.having(scopes=AS_MANY_SCOPES_AS_FIT))).status == 200


def test_a_refusal_goes_through(place: Place) -> None:
    """What a gateway is told of a refusal is the same with the cache between."""
    assert place.client.get("/").header("www-authenticate") == "Bearer"
    place.wire.answer(403, ("X-Auth-Status", "503"), ("Retry-After", "7"), ("Cache-Control", "no-store"))
    answer = place.client.get("/refused", bearer(place.keystile.key))
    assert (answer.status, answer.header("retry-after")) == (503, "7")


def test_a_kept_verdict_is_for_that_request_alone(place: Place) -> None:
    """While it counts, the same request needs no Keystile; another key, method, path, address or origin does."""
    key, other = place.keystile.key, place.keystile.having()
    place.wire.answer(200, *allowed_for(300))
    assert place.client.get("/kept?a=1", bearer(key)).status == 200
    place.wire.cut()
    again = place.client.get("/kept?a=1", bearer(key)).upstream
    assert again is not None
    assert again.values("authorization") == [f"Bearer {TOKEN}"]
    assert again.values("x-auth-subject") == ["told"]
    for answer in (
        place.client.get("/kept?a=1", bearer(other)),
        place.client.get("/kept?a=1", ("X-API-Key", key["api_key"])),
        place.client.get("/kept?a=1", bearer(key), ("X-API-Key", other["api_key"])),
        place.client.get("/kept?a=1", bearer(key), ("Origin", "https://app.example.com")),
        place.client.get("/kept?a=2", bearer(key)),
        place.client.get("/kept/?a=1", bearer(key)),
        place.client.send("DELETE", "/kept?a=1", bearer(key)),
        place.client.get("/kept?a=1", bearer(key), address=STRANGER),
        place.client.get("/kept?a=1"),
    ):
        assert (answer.status, answer.upstream) == (503, None)


def test_a_verdict_ends_when_it_was_said_to(place: Place) -> None:
    """After `max-age` the key is asked about again: a revoke bites that much later, and no later."""
    place.wire.answer(200, *allowed_for(1))
    assert place.client.get("/ending", bearer(place.keystile.key)).status == 200
    place.wire.cut()
    assert wait_until(lambda: place.client.get("/ending", bearer(place.keystile.key)).status == 503, 30)


def test_no_key_is_kept(place: Place, caching: CachingNginx) -> None:
    """What the cache writes names nobody's key, plain or encoded."""
    place.wire.answer(200, *allowed_for(300))
    for presented in (bearer(place.keystile.key), ("X-API-Key", place.keystile.key["api_key"])):
        assert place.client.get("/secret", presented).status == 200
    written = "".join(path.read_text("latin-1") for path in files_in(caching.cache))
    assert TOKEN in written
    assert not any(secret in written for secret in secrets_of(place.keystile.key["api_key"]))


def test_a_gate_s_own_verdicts_are_kept(scene: Scene) -> None:
    """Of a gate that allows it: a yes outlives a revoke; a missing scope, and a key with limits, are asked about."""
    wire, keystile = scene.keystile.wires["x-forwarded"], scene.keystile
    folder = scene.folder / "caching-at-a-gate"
    with CachingNginxAtAGate.running(folder, keystile=wire.port, service=scene.echo.port) as gateway:
        client = Place(gateway, scene).client
        key = keystile.issue(scopes=["read"], audiences=[ORDERS])
        received = client.get("/orders", bearer(key)).upstream
        assert received is not None
        (authorization,) = received.values("authorization")
        assert keystile.claims(authorization.removeprefix("Bearer "), ORDERS)["client_id"] == key["key_id"]
        keystile.revoke(key)
        kept = client.get("/orders", bearer(key)).upstream
        assert kept is not None
        assert kept.values("authorization") == [authorization]
        assert client.get("/others", bearer(key)).status == 401
        lacking = client.get("/orders", bearer(keystile.issue(scopes=["write"], audiences=[ORDERS])))
        assert (lacking.status, lacking.upstream) == (403, None)
        assert lacking.header("www-authenticate") == 'Bearer error="insufficient_scope", scope="read"'
        limited = bearer(keystile.issue(scopes=["read"], audiences=[ORDERS], requests_per_day=1))
        assert [client.get("/orders", limited).status for _ in range(2)] == [200, 429]


def files_in(folder: Path) -> Iterator[Path]:
    """Return the files anywhere in *folder*."""
    return (path for path in folder.rglob("*") if path.is_file())
