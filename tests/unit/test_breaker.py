from __future__ import annotations

import pytest

from keystile.authority.breaker import Breaker
from keystile.errors import CannotTellError
from unit.watched import Time


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def breaker(time: Time) -> Breaker:
    return Breaker("Redis", threshold=3, pause=0.5, ticks=time.ticks, jitter=lambda: 0.0)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.failed(breaker.check())


def test_opens_after_three_failures_in_a_row(breaker: Breaker) -> None:
    """Two failures are bad luck; three, and calls are refused without being tried."""
    fail(breaker, 2)
    breaker.succeeded(breaker.check())
    fail(breaker, 2)
    began_at = breaker.check()
    assert not breaker.is_open
    breaker.failed(began_at)
    assert breaker.is_open
    with pytest.raises(CannotTellError, match="Redis is out of reach"):
        breaker.check()


def test_one_probe_passes_after_the_pause(breaker: Breaker, time: Time) -> None:
    """When the pause is over one call may try; the others go on being refused until it ends."""
    fail(breaker, 3)
    time.passed = 0.5
    began_at = breaker.check()
    with pytest.raises(CannotTellError):
        breaker.check()
    breaker.succeeded(began_at)
    breaker.check()
    assert not breaker.is_open


def test_failed_probe_begins_the_pause_anew(breaker: Breaker, time: Time) -> None:
    """A dependency that is still away is left alone for another pause."""
    fail(breaker, 3)
    time.passed = 0.5
    breaker.failed(breaker.check())
    time.passed = 0.99
    with pytest.raises(CannotTellError):
        breaker.check()
    time.passed = 1.0
    breaker.check()


def test_probe_that_never_ends_does_not_block_for_ever(breaker: Breaker, time: Time) -> None:
    """If the probe's caller went away, another one may probe after the next pause."""
    fail(breaker, 3)
    time.passed = 0.5
    breaker.check()
    time.passed = 1.0
    breaker.check()


def test_pause_is_jittered(time: Time) -> None:
    """A hundred processes do not all probe at the same moment."""
    late = Breaker("Redis", threshold=1, pause=0.5, ticks=time.ticks, jitter=lambda: 0.9)
    fail(late, 1)
    time.passed = 0.94
    with pytest.raises(CannotTellError):
        late.check()
    time.passed = 0.95
    late.check()


def test_every_call_is_timed_and_failures_are_counted(breaker: Breaker, time: Time) -> None:
    """An operator sees how long calls take, those that fail too; one that was not tried is no call."""
    began_at = breaker.check()
    time.passed = 0.25
    breaker.succeeded(began_at)
    fail(breaker, 3)
    with pytest.raises(CannotTellError):
        breaker.check()
    assert (sum(breaker.seconds.counts), breaker.seconds.total) == (4, 0.25)
    assert breaker.failures == 3
