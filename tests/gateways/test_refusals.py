"""A refusal reaches the client as Keystile meant it, and where nobody can say yes, the answer is no."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from gateways.client import bearer
from gateways.programs import BrokenHAProxy, Envoy
from gateways.scene import Place
from gateways.test_identity import identity
from stack.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateways.scene import Scene

AWAY = (502, 503, 504)


@pytest.fixture
def wire(place: Place) -> Iterator[Place]:
    """Return a place whose wire to Keystile is whole again afterwards."""
    yield place
    place.wire.resume()


@pytest.fixture
def away(scene: Scene) -> Iterator[Scene]:
    """Return everything, with Keystile there again afterwards."""
    yield scene
    for server in scene.keystile.servers.values():
        if server.has_ended():
            server.restart()
        else:
            server.resume()


def test_a_challenge_reaches_the_client(place: Place) -> None:
    """RFC 6750, 3: without a credential a bare challenge, with a wrong one the error; both 401."""
    key = place.keystile.key
    bare = place.client.get("/")
    wrong = place.client.get("/", ("X-API-Key", key["api_key"][:-6] + "AAAAAA"))
    assert (bare.status, bare.header("www-authenticate")) == (401, "Bearer")
    assert (wrong.status, wrong.header("www-authenticate")) == (401, 'Bearer error="invalid_token"')


def test_a_spent_limit_reaches_the_client(place: Place) -> None:
    """429 with the wait, and what the limit is (RFC 9110, 10.2.3; RateLimit fields), whatever the method."""
    key = place.keystile.issue(requests_per_day=1)
    assert place.client.get("/", bearer(key)).status == 200
    for method in ("GET", "HEAD", "POST"):
        answer = place.client.send(method, "/", bearer(key), body=b"x" * 70_000 if method == "POST" else None)
        assert (answer.status, answer.upstream) == (429, None)
        assert int(answer.header("retry-after") or 0) > 0
        assert ";r=0;" in (answer.header("ratelimit") or "")
        assert "q=1" in (answer.header("ratelimit-policy") or "")


def test_a_missing_scope_reaches_the_client(wire: Place) -> None:
    """RFC 6750, 3.1: 403 with the challenge that names the scope, and not the service."""
    challenge = 'Bearer error="insufficient_scope", scope="orders:write"'
    status, headers = wire.told(403, ("WWW-Authenticate", challenge))
    wire.wire.answer(status, *headers)
    answer = wire.client.get("/", bearer(wire.keystile.key))
    assert (answer.status, answer.upstream, answer.header("www-authenticate")) == (403, None, challenge)


def test_nobody_to_ask_reaches_the_client(wire: Place) -> None:
    """503 with a wait: the key may be good, and its holder comes again."""
    status, headers = wire.told(503, ("Retry-After", "7"))
    wire.wire.answer(status, *headers)
    answer = wire.client.get("/", bearer(wire.keystile.key))
    assert (answer.status, answer.upstream) == (503, None)
    # Envoy drops what comes with a 503 of the server it asks; the wait is its own configuration's.
    assert answer.header("retry-after") == ("1" if isinstance(wire.gateway, Envoy) else "7")


@pytest.mark.parametrize("status", [200, 204, 301, 404, 418, 500])
def test_who_is_not_keystile_lets_nobody_in(wire: Place, status: int) -> None:
    """Whoever stands in Keystile's place and says nothing of a key gives no identity, and the key goes no further."""
    key = wire.keystile.key
    wire.wire.answer(status, ("Location", "/elsewhere"))
    answer = wire.client.get("/", bearer(key), ("X-API-Key", key["api_key"]), ("X-Auth-Subject", "root"))
    if answer.upstream is not None:
        assert status < 300
        assert all(values == [""] for values in identity(answer.upstream).values())
        assert key["api_key"] not in answer.upstream.text()


def test_a_gateway_without_keystile_refuses(wire: Place) -> None:
    """Nobody listens where Keystile should be: no request passes, and the next one does when it is back."""
    key = wire.keystile.key
    wire.wire.cut()
    answer = wire.client.get("/", bearer(key), ("X-Auth-Subject", "root"))
    assert answer.upstream is None
    assert answer.status in AWAY
    wire.wire.resume()
    assert wait_until(lambda: wire.client.get("/", bearer(key)).status == 200, 30)


def test_a_script_that_fails_lets_nobody_in(scene: Scene) -> None:
    """HAProxy goes on with a request whose Lua action failed: then nobody has let it through."""
    wire = scene.keystile.wires[BrokenHAProxy.convention]
    folder = scene.folder / "broken"
    with BrokenHAProxy.running(folder, keystile=wire.port, service=scene.echo.port) as gateway:
        answer = Place(gateway, scene).client.get("/", bearer(scene.keystile.key))
        assert (answer.status, answer.upstream) == (503, None)
        assert "no_such_function" in gateway.log_path.read_text()


def test_stopped_and_hanging_keystile_is_a_refusal(away: Scene) -> None:
    """Keystile frozen, then ended: every gateway refuses by its own timeout, and goes on when Keystile is back."""
    key = away.keystile.key
    servers = away.keystile.servers.values()
    assert everywhere(away, key) == {200}
    for server in servers:
        server.suspend()
    assert everywhere(away, key) <= set(AWAY)
    for server in servers:
        server.kill()
    assert everywhere(away, key) <= set(AWAY)
    for server in servers:
        server.start()
    assert wait_until(lambda: everywhere(away, key) == {200}, 60)


def everywhere(scene: Scene, key: dict[str, str]) -> set[int]:
    """Ask every gateway at once, and return the statuses."""
    with ThreadPoolExecutor(len(scene.places)) as pool:
        return set(pool.map(lambda place: place.client.status("/", bearer(key)), scene.places.values()))
