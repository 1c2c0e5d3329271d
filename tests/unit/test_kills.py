from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.changes import Change
from unit.listening import DEATH, KEY, NOW_SECONDS, Listener, a_verdict, at


@pytest.fixture
def listener() -> Listener:
    return Listener()


@given(kills_below=st.integers(0, 10), gen=st.integers(0, 10))
def test_kill_reaches_generations_below_it(kills_below: int, gen: int) -> None:
    """A kill is for every lower generation of that key, and for no other key."""
    listener = Listener()
    listener.hear(1, Change(key_id=KEY, kills_below=kills_below))
    assert listener.memory.is_killed(KEY, gen, NOW_SECONDS) == (gen < kills_below)
    assert not listener.memory.is_killed("other", gen, NOW_SECONDS)


def test_kill_waits_for_its_moment(listener: Listener) -> None:
    """A kill of the future, as after a rotation, bites when its time has come."""
    listener.hear(1, Change(key_id=KEY, kills_below=2, kills_from=NOW_SECONDS + 60))
    assert not listener.memory.is_killed(KEY, 1, NOW_SECONDS + 59.9)
    assert listener.memory.is_killed(KEY, 1, NOW_SECONDS + 60)


def test_lower_kill_does_not_take_back_a_higher_one(listener: Listener) -> None:
    """Whatever the order in which kills are heard, what is dead stays dead."""
    listener.hear(1, DEATH)
    listener.hear(2, Change(key_id=KEY, kills_below=2), Change(key_id=KEY, gen=3))
    assert listener.memory.is_dead(KEY)
    assert listener.memory.is_killed(KEY, 3, NOW_SECONDS)


def test_verdict_on_a_killed_key_does_not_count_but_on_a_dead_one_does(listener: Listener) -> None:
    """A kill takes away what was granted; that a key is dead may be remembered."""
    listener.hear(1, DEATH)
    assert not listener.memory.counts_verdict(a_verdict(at(1)), NOW_SECONDS)
    assert listener.memory.counts_verdict(a_verdict(at(1), dead=True), NOW_SECONDS)


def test_kills_survive_another_life_and_are_said_again(listener: Listener) -> None:
    """What a new log does not know is returned, to be said to those who were not listening."""
    listener.hear(1, DEATH, Change(key_id="harmless"))
    assert listener.hear(1, life="b") == (DEATH,)
    assert listener.memory.is_killed(KEY, 1, NOW_SECONDS)


def test_kill_the_new_log_knows_is_not_said_again(listener: Listener) -> None:
    """A hundred processes that lose a log do not each say everything again."""
    listener.hear(1, DEATH)
    assert listener.hear(1, DEATH, life="b") == ()


def test_kill_is_said_again_although_its_key_was_named_otherwise(listener: Listener) -> None:
    """A new log that only knows of a harmless change of the key does not know that it was killed."""
    listener.hear(1, DEATH)
    assert listener.hear(1, Change(key_id=KEY, gen=2), Change(key_id=KEY, kills_below=2), life="b") == (DEATH,)


def test_own_kill_in_an_unknown_life_is_obeyed(listener: Listener) -> None:
    """A kill said to a log that began anew is remembered, though its position means nothing yet."""
    listener.hear(5)
    listener.memory.said(DEATH, at(1, "b"))
    assert listener.memory.is_killed(KEY, 1, NOW_SECONDS)
    assert listener.memory.position == at(5)


def test_kill_of_the_future_is_kept_beyond_its_saying(listener: Listener) -> None:
    """A rotation with a long grace kills at its end, however long ago it was said."""
    day = 86_400.0
    listener.hear(1, Change(key_id=KEY, kills_below=2, kills_from=NOW_SECONDS + day, at=NOW_SECONDS))
    listener.memory.forget(NOW_SECONDS + day)
    assert listener.memory.is_killed(KEY, 1, NOW_SECONDS + day)
