"""The wall clock of one process stepped by ten minutes: no valid key is refused, nothing revoked comes back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from faults.faulty_world import SOON
from stack import KeystileServer
from stack.clock import SteppedClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faults.faulty_world import FaultyWorld

_STEP = 600  # seconds


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> SteppedClock:
    """Make a clock to step."""
    return SteppedClock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def stepped_server(shared_world: FaultyWorld, clock: SteppedClock) -> Iterator[KeystileServer]:
    """Serve under that clock, elected to follow Keycloak's events: the others come later."""
    environment = shared_world.world.environment | clock.environment
    for server in shared_world.servers:
        server.stop()
    with KeystileServer(environment, log_path=shared_world.world.folder / "stepped.log") as stepped:
        shared_world.world.wait_for_polls()
        for server in shared_world.servers:
            server.start()
        yield stepped
    with Redis.from_url(shared_world.world.redis.url) as client:
        client.flushall()  # what a wrong clock left there is no matter for the tests after this one


@pytest.fixture
def stepped(faulty: FaultyWorld, clock: SteppedClock, stepped_server: KeystileServer) -> Iterator[KeystileServer]:
    """Return that server, its clock right at first and in the end."""
    clock.step(0)
    faulty.ask_until(faulty.known, 200, server=stepped_server)
    yield stepped_server
    clock.step(0)


@pytest.mark.parametrize("seconds", [_STEP, -_STEP], ids=["forward", "back"])
def test_a_stepped_clock_refuses_no_key(
    faulty: FaultyWorld, stepped: KeystileServer, clock: SteppedClock, seconds: int
) -> None:
    """Known and cold keys are answered after a step and after the step back, by both processes."""
    both = (stepped, faulty.second)
    for step in (seconds, 0):
        clock.step(step)
        cold = faulty.new_key()
        for _ in range(10):
            for server in both:
                assert faulty.status(faulty.known, server) == 200
                assert faulty.status(cold, server) == 200
            assert {faulty.status(faulty.dead, server) for server in both} == {401}


@pytest.mark.parametrize("seconds", [_STEP, -_STEP], ids=["forward", "back"])
def test_changes_are_seen_under_a_stepped_clock(
    faulty: FaultyWorld, stepped: KeystileServer, clock: SteppedClock, seconds: int
) -> None:
    """After a step, and the step back, a revoke bites in a second, and what is done in Keycloak in 5 s."""
    both = (stepped, faulty.second)
    for step in (seconds, 0):
        doomed, disabled = faulty.new_key(), faulty.new_key()
        for server in both:
            for held in (doomed, disabled):
                assert faulty.status(held, server) == 200
        clock.step(step)
        time.sleep(1.0)  # a poll under the new time, as in life
        for server in both:
            for held in (doomed, disabled):
                assert faulty.status(held, server) == 200
        with faulty.truth.ending(disabled.key.owner, bound=SOON):
            faulty.world.admin.update_user(disabled.key.owner.subject, {"enabled": False})
        assert faulty.revoke(doomed).returncode == 0
        for server in both:
            faulty.ask_until(doomed, 401, server=server)
            faulty.ask_until(disabled, 401, server=server)


def test_a_revoke_by_a_stepped_command_line_bites(
    faulty: FaultyWorld, stepped: KeystileServer, clock: SteppedClock
) -> None:
    """A command whose clock is ten minutes wrong revokes as any other: key and JWT are dead in a second, for good."""
    both = (stepped, faulty.second)
    for seconds in (_STEP, -_STEP):
        clock.step(seconds)
        doomed = faulty.new_key()
        for server in both:
            assert faulty.status(doomed, server) == 200
        assert faulty.revoke(doomed, environment=clock.environment).returncode == 0
        for server in both:
            faulty.ask_until(doomed, 401, server=server)
        clock.step(0)
        for server in both:
            assert faulty.status(doomed, server) == 401
