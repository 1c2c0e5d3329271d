"""A process that cannot hear the log: it follows Keycloak itself, in five seconds, and answers what it knows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from faults.faulty_world import SOON
from stack.processes import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from faults.faulty_world import FaultyWorld


def test_a_process_cut_from_the_log_keeps_five_seconds(faulty: FaultyWorld, tmp_path: Path) -> None:
    """Its Redis blackholed, a process obeys a revoke and a console's change in 5 s, and answers known keys."""
    first, second = faulty.servers
    doomed, disabled = faulty.known_key(), faulty.known_key()
    doomed_token, token = faulty.known_jwt(doomed), faulty.known_jwt(faulty.known)
    elsewhere = {
        "KEYSTILE_REDIS_URL": second.environment["KEYSTILE_REDIS_URL"],
        "KEYSTILE_DATA_DIR": str(tmp_path),  # another machine: nothing but the log and Keycloak tells of it
    }
    with faulty.watched(faulty.known, token, doomed, disabled):
        faulty.redis_wires[0].blackhole()
        with faulty.truth.ending(disabled.key.owner, bound=SOON):
            faulty.world.admin.update_user(disabled.key.owner.subject, {"enabled": False})
        revoked = faulty.revoke(doomed, bound=SOON, environment=elsewhere)
        assert revoked.returncode == 0, revoked.stderr
        for server in (first, second):
            for held in (doomed, doomed_token, disabled):
                faulty.ask_until(held, 401, server=server)
        assert faulty.statuses(faulty.known, token) == {200}
        faulty.redis_wires[0].resume()
        assert wait_until(faulty.is_whole, SOON)
    assert faulty.statuses(doomed, doomed_token, disabled) == {401}


def test_a_process_cut_from_the_log_does_not_ask_keycloak_for_each_request(faulty: FaultyWorld) -> None:
    """Without Redis a process follows Keycloak's events itself: what it knows it answers from memory."""
    for wire in faulty.redis_wires:
        wire.blackhole()
    time.sleep(2.0)  # the log falls silent, and the first own poll ends
    assert faulty.statuses(faulty.known) == {200}
    mark = faulty.world.keycloak.mark()
    began_at = time.monotonic()
    assert {faulty.status(faulty.known) for _ in range(200)} == {200}
    seconds = time.monotonic() - began_at
    asked = [line for line in faulty.world.keycloak.requests_since(mark) if "q=apiKeyLookup" in line]
    assert len(asked) <= 2 + 2 * seconds, "one look-up a second at most, where a poll came late"
