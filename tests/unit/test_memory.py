from __future__ import annotations

import pytest

from keystile.authority.memory import HEARD_FOR, REMEMBERED, owner_name
from keystile.changes import Change, PollMark
from keystile.ports import LogPage
from unit.listening import DEATH, KEY, NOW_SECONDS, Listener, at


@pytest.fixture
def listener() -> Listener:
    return Listener()


def test_nothing_counts_before_the_log_was_heard(listener: Listener) -> None:
    """A process that has heard nothing trusts no verdict."""
    assert not listener.memory.hears()
    assert listener.memory.heard is None
    assert not listener.memory.counts(listener.memory.position)
    assert not listener.memory.counts(at(1))


def test_verdict_counts_until_its_key_is_named(listener: Listener) -> None:
    """What was read before a change of its key or owner is void; what was read after it counts."""
    listener.hear(5)
    assert listener.memory.counts(at(5), KEY, owner_name("owner-1"))
    listener.hear(6, Change(key_id=KEY))
    assert not listener.memory.counts(at(5), KEY, owner_name("owner-1"))
    assert listener.memory.counts(at(6), KEY, owner_name("owner-1"))
    listener.hear(7, Change(owner_id="owner-1"))
    assert not listener.memory.counts(at(6), KEY, owner_name("owner-1"))


def test_changes_of_others_void_nothing(listener: Listener) -> None:
    """A change concerns the key and the owner it names, and nobody else."""
    listener.hear(5)
    listener.hear(6, Change(key_id="other", owner_id="owner-2"))
    assert listener.memory.counts(at(5), KEY, owner_name("owner-1"))


def test_owner_id_is_not_mistaken_for_a_key_id(listener: Listener) -> None:
    """An owner whose id looks like a key id does not void that key, nor the other way round."""
    listener.hear(5)
    listener.hear(6, Change(owner_id=KEY), Change(key_id="owner-1"))
    assert listener.memory.counts(at(5), KEY, owner_name("owner-1"))


def test_silence_counts_for_seven_tenths_of_a_second(listener: Listener) -> None:
    """A log unheard for 0.7 s could have said anything."""
    listener.hear(5)
    listener.time.passed = HEARD_FOR - 0.001
    assert listener.memory.counts(at(5), KEY)
    listener.time.passed = HEARD_FOR
    assert not listener.memory.hears()
    assert not listener.memory.counts(at(5), KEY)
    listener.hear(5)
    assert listener.memory.counts(at(5), KEY)


def test_silence_is_measured_from_when_the_log_was_asked(listener: Listener) -> None:
    """An answer that was long under way is as old as its question."""
    asked_at = listener.time.ticks()
    listener.time.passed = 0.6
    listener.memory.heard_page(LogPage(at(5)), asked_at, NOW_SECONDS)
    listener.time.passed = 0.75
    assert not listener.memory.hears()


def test_another_life_of_the_log_voids_every_older_verdict(listener: Listener) -> None:
    """After a flush or a restore no verdict of the former log counts, nor one from before it was heard here."""
    listener.hear(500)
    listener.hear(3, life="b")
    assert not listener.memory.counts(at(500), KEY)
    assert not listener.memory.counts(at(2, "b"), KEY)
    assert listener.memory.counts(at(3, "b"), KEY)


def test_hole_in_the_log_voids_every_older_verdict(listener: Listener) -> None:
    """If entries may be missing, anything may have changed."""
    listener.hear(5)
    listener.hear(9, whole=False)
    assert not listener.memory.counts(at(8), KEY)
    assert listener.memory.counts(at(9), KEY)


def test_first_page_voids_nothing(listener: Listener) -> None:
    """A new process may use the verdicts that others left in the cache, as far as the log goes back."""
    listener.hear(9, Change(key_id="other"))
    assert listener.memory.counts(at(2), KEY)
    assert not listener.memory.counts(at(2), "other")


def test_own_change_is_obeyed_before_it_is_heard(listener: Listener) -> None:
    """Who revokes a key obeys at once, and reads made after it carry its position."""
    listener.hear(5)
    listener.memory.said(DEATH, at(6))
    assert listener.memory.is_killed(KEY, 1, NOW_SECONDS)
    assert not listener.memory.counts(at(5), KEY)
    assert listener.memory.position == at(6)
    assert listener.memory.heard == at(5)


def test_late_page_does_not_take_back_an_own_change(listener: Listener) -> None:
    """A page that was under way while this process said something cannot make the older reading count again."""
    listener.hear(4)
    listener.memory.said(Change(key_id=KEY), at(6))
    listener.hear(5, Change(key_id=KEY))
    assert not listener.memory.counts(at(5), KEY)
    assert listener.memory.counts(at(6), KEY)


def test_nothing_since_ends_with_any_change(listener: Listener) -> None:
    """What depends on no key at all ends with the next change of anything."""
    listener.hear(5)
    assert listener.memory.nothing_since(at(5))
    listener.hear(6, Change(key_id="other"))
    assert not listener.memory.nothing_since(at(5))
    assert listener.memory.nothing_since(at(6))


def test_nothing_since_starts_over_with_a_new_life(listener: Listener) -> None:
    """Offsets of a former log do not make a new one look full of changes."""
    listener.hear(500, Change(key_id="other"))
    listener.hear(3, life="b")
    assert listener.memory.nothing_since(at(3, "b"))


def test_last_poll_is_remembered(listener: Listener) -> None:
    """A page that tells of no poll does not make the last one forgotten."""
    listener.hear(1, polled=PollMark(polled_at=7.0))
    listener.hear(2)
    assert listener.memory.polled == PollMark(polled_at=7.0)


def test_changes_are_forgotten_after_two_hours(listener: Listener) -> None:
    """Nothing is kept for longer than any verdict or JWT lives; until then everything is."""
    listener.hear(1, DEATH, Change(key_id="other", owner_id="owner-1", at=NOW_SECONDS))
    listener.time.passed = REMEMBERED - 1
    listener.hear(2)
    listener.memory.forget(NOW_SECONDS + REMEMBERED - 1)
    assert not listener.memory.counts(at(0), "other")
    assert listener.memory.is_dead(KEY)
    listener.time.passed = REMEMBERED + 1
    listener.hear(3)
    listener.memory.forget(NOW_SECONDS + REMEMBERED + 1)
    assert not listener.memory.is_dead(KEY)


def test_how_late_a_kill_is_heard_is_measured_once(listener: Listener) -> None:
    """What others said counts from their saying to our hearing it; history, our own and what is heard again do not."""
    lags = listener.memory.lags
    listener.hear(1, Change(key_id="before", kills_below=2, at=NOW_SECONDS - 500))
    assert sum(lags.counts) == 0
    listener.time.passed = 0.3
    listener.hear(2, DEATH, Change(key_id="widened", at=NOW_SECONDS))
    assert (sum(lags.counts), round(lags.total, 6)) == (1, 0.3)
    own = Change(key_id="own", kills_below=2, at=NOW_SECONDS)
    listener.memory.said(own, at(3))
    listener.time.passed = 9.0
    listener.hear(3, own)
    listener.hear(1, DEATH, own, life="b")
    assert sum(lags.counts) == 1
    listener.hear(2, Change(key_id=KEY, jti="j", jti_until=NOW_SECONDS + 300, at=NOW_SECONDS + 8.0), life="b")
    assert (sum(lags.counts), round(lags.total, 6)) == (2, 1.3)


def test_silence_is_told_in_seconds(listener: Listener) -> None:
    """An operator sees how long ago the log was heard, and Keycloak's events were followed; before that, for ever."""
    memory = listener.memory
    assert memory.silent_for() == memory.unfollowed_for() == float("inf")
    listener.hear(1, polled=PollMark(polled_at=NOW_SECONDS - 2.0))
    listener.time.passed = 3.0
    assert (memory.silent_for(), memory.unfollowed_for()) == (3.0, 5.0)
