"""After all that clients sent (the file is the last of its folder): no key behind a gateway, nor in any log."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from gateways.client import bearer, ways_to_present
from gateways.echo import BROKEN
from stack.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateways.scene import Place, Scene

_PATIENCE = 30.0  # seconds until a log is written


def test_no_key_is_found_behind_a_gateway_or_in_a_log(scene: Scene) -> None:
    """Good, refused and broken requests left no key and no JWT in any log, and no key at the service."""
    for place in scene.places.values():
        leave_traces(place)
    texts = dict(logs(scene.folder))
    for name in scene.places:
        assert any("/traces" in text for path, text in texts.items() if f"/{name}/" in path), f"{name} logs nothing"
    texts["the service"] = "\n".join(received.text() for received in scene.echo.received)
    wanted = [secret for key in scene.keystile.ledger for secret in secrets_of(key)]
    assert [path for path, text in texts.items() if any(secret in text for secret in wanted)] == []
    del texts["the service"]  # which gets JWTs
    assert [path for path, text in texts.items() if "eyJ" in text] == []


def leave_traces(place: Place) -> None:
    """Present a key in every way: to be let through, to be refused, and while either side is broken."""
    key = place.keystile.key
    for headers in ways_to_present(key):
        place.client.get("/traces", *headers)
        place.client.status(BROKEN, *headers)
        place.client.get("/traces", *headers, ("Authorization", "Digest x"))
    place.client.get("/traces", bearer(key), ("X-API-Key", place.keystile.having()["api_key"]))
    place.wire.cut()
    place.client.get("/traces", bearer(key), ("X-Api-Key", key["api_key"]))
    place.wire.resume()
    assert wait_until(lambda: any("/traces" in text for _, text in logs(place.gateway.folder)), _PATIENCE)


def secrets_of(key: str) -> Iterator[str]:
    """Return the private part of a key, plain and as Basic credentials may hold it."""
    secret = key[-38:]
    yield secret
    for before in range(3):  # base64 takes three bytes at once
        yield base64.b64encode(b"x" * before + secret.encode()).decode()[4:-4]


def logs(folder: Path) -> Iterator[tuple[str, str]]:
    """Return every log, with its path."""
    for path in folder.rglob("*.log"):
        yield str(path), path.read_text(errors="replace")
