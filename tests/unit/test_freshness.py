from __future__ import annotations

from datetime import timedelta

import pytest

from keystile.authority.freshness import Freshness
from keystile.authority.memory import POLL_VOUCHES_FOR
from keystile.changes import Change, PollMark
from keystile.verdicts import Verdict
from unit.builders import NOW, a_record, an_owner
from unit.listening import KEY, Listener, at

TTL = timedelta(minutes=15)


class Judge(Listener):
    """A freshness, and the memory it looks at."""

    def __init__(self, *, followed: bool = False) -> None:
        super().__init__()
        self.freshness = Freshness(
            self.memory, clock=self.time.now, ticks=self.time.ticks, cache_ttl=TTL, stale_ttl=TTL, followed=followed
        )
        self.hear(1, polled=PollMark(polled_at=NOW.timestamp()) if followed else None)

    def after(self, seconds: float) -> tuple[bool, bool]:
        """Tell whether a verdict read at NOW counts, fresh and stale, that many seconds later."""
        self.time.passed = seconds
        self.hear(1)
        verdict = Verdict(record=a_record(), owner=an_owner(), position=at(1), read_at=NOW.timestamp())
        return self.freshness.counts(verdict), self.freshness.counts_stale(verdict)


@pytest.mark.parametrize(
    ("seconds", "fresh", "stale"),
    [(0, True, True), (899.9, True, True), (900, False, True), (1_799.9, False, True), (1_800, False, False)],
)
def test_verdict_is_fresh_and_then_stale_and_then_over(seconds: float, *, fresh: bool, stale: bool) -> None:
    """A quarter of an hour without asking, another one while nobody can be asked, and no longer."""
    assert Judge().after(seconds) == (fresh, stale)


@pytest.mark.parametrize(("seconds", "fresh"), [(0, True), (POLL_VOUCHES_FOR - 0.1, True), (POLL_VOUCHES_FOR, False)])
def test_last_poll_keeps_verdicts_fresh_for_a_minute(seconds: float, *, fresh: bool) -> None:
    """Where keys are changed elsewhere too, a verdict is only as fresh as the last look at those changes."""
    assert Judge(followed=True).after(seconds) == (fresh, True)


def test_another_poll_makes_verdicts_fresh_again() -> None:
    """Freshness is judged at each use: when events are followed again, what was read before counts again."""
    judge = Judge(followed=True)
    assert judge.after(120) == (False, True)
    judge.hear(1, polled=PollMark(polled_at=NOW.timestamp() + 119))
    assert judge.after(120) == (True, True)
    assert judge.after(900) == (False, True)


def test_poll_does_not_lengthen_a_verdicts_own_time() -> None:
    """However lately events were read, a verdict is read again after a quarter of an hour."""
    judge = Judge(followed=True)
    judge.hear(1, polled=PollMark(polled_at=NOW.timestamp() + 899))
    assert judge.after(900) == (False, True)


def test_nothing_is_fresh_before_the_first_poll() -> None:
    """Until events are followed every key is read, and nothing read before may stand in for an answer."""
    judge = Judge(followed=True)
    judge.memory.fresh_until = float("-inf")
    assert judge.after(0) == (False, False)


@pytest.mark.parametrize(("behind", "fresh"), [(4.9, True), (5.1, False)])
def test_clocks_may_differ_by_seconds(behind: float, *, fresh: bool) -> None:
    """A verdict from a process whose clock runs ahead counts, unless it claims to be from the future."""
    assert Judge().after(-behind) == (fresh, True)


def test_log_takes_away_whatever_the_age() -> None:
    """A verdict on a key that was named since is neither fresh nor stale."""
    judge = Judge()
    judge.hear(2, Change(key_id=KEY))
    verdict = Verdict(record=a_record(), owner=an_owner(), position=at(1), read_at=NOW.timestamp())
    assert not judge.freshness.counts(verdict)
    assert not judge.freshness.counts_stale(verdict)
