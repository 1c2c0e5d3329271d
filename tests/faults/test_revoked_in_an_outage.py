"""A revoke while Keycloak, Redis or both are away: taken at once, obeyed at once, and it outlives everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from faults.faulty_world import SOON
from stack.processes import soon, wait_until

if TYPE_CHECKING:
    from faults.faulty_world import FaultyWorld

_LANDS_WITHIN = 10.0  # seconds after everything is back: a start, a look at what is pending, a write


@pytest.mark.parametrize("down", ["keycloak", "redis", "both"])
def test_a_revoke_in_an_outage_outlives_everything(faulty: FaultyWorld, down: str) -> None:
    """It answers, bites within a second on that data folder, outlives SIGKILL of all servers, and lands in Keycloak."""
    doomed = faulty.known_key()
    token = faulty.known_jwt(doomed)
    _take_away(faulty, down)
    revoked = faulty.revoke(doomed, "--json")
    assert revoked.returncode == 0, revoked.stderr
    assert ('"pending": true' in revoked.stdout) == (down != "redis"), revoked.stdout
    assert soon(lambda: faulty.statuses(doomed, token) <= ({401} if down != "both" else {401, 503}))
    for server in (*faulty.servers, faulty.world.redis):
        server.kill()
    for server in (faulty.world.redis, *faulty.servers):
        server.start()
    assert faulty.statuses(doomed, token) <= {401, 503}
    faulty.mend()
    for server in faulty.servers:
        faulty.ask_until(doomed, 401, server=server)
        faulty.ask_until(token, 401, server=server)
    assert wait_until(lambda: faulty.is_written(doomed), _LANDS_WITHIN), "the revoke never landed in Keycloak"
    assert faulty.statuses(doomed, token) == {401}


@pytest.mark.parametrize("down", ["keycloak", "redis", "both"])
def test_servers_start_in_an_outage(faulty: FaultyWorld, down: str) -> None:
    """Servers that start while it lasts refuse nobody: they answer what they can, say 503 to the rest, and recover."""
    cold = faulty.new_key()
    token = faulty.new_jwt(faulty.known)
    _take_away(faulty, down)
    faulty.second.restart()
    assert faulty.status(cold, faulty.second) == (200 if down == "redis" else 503)
    assert faulty.status(token, faulty.second) in {200, 503}
    assert faulty.status(faulty.forged, faulty.second) == 401
    for wire in faulty.wires:
        wire.resume()
    for held in (cold, token):
        faulty.ask_until(held, 200, server=faulty.second)
    assert wait_until(faulty.is_whole, SOON)


def test_known_keys_live_a_second_when_both_are_away(faulty: FaultyWorld) -> None:
    """With both away known keys are answered for a second at most, then 503, and again when they return."""
    token = faulty.known_jwt(faulty.known)
    with faulty.watched(faulty.known, token, faulty.dead):
        _take_away(faulty, "both")
        assert soon(lambda: faulty.statuses(faulty.known, token) == {503})
        assert faulty.statuses(faulty.dead) <= {401, 503}
        assert faulty.statuses(faulty.forged) == {401}
        for wire in faulty.wires:
            wire.resume()
        assert wait_until(lambda: faulty.statuses(faulty.known, token) == {200}, SOON)


def _take_away(faulty: FaultyWorld, down: str) -> None:
    if down != "redis":
        faulty.keycloak_wire.cut()
    if down != "keycloak":
        for wire in faulty.redis_wires:
            wire.cut()
