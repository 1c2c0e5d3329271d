from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keystile.changes import ALL_GENERATIONS, Change, Floor, PollMark, sign, unsign
from keystile.peppers import Peppers
from unit.builders import PEPPERS, pepper

names = st.text(st.characters(codec="utf-8"), max_size=20)
numbers = st.integers(0, ALL_GENERATIONS)
moments = st.floats(0, 2e10, allow_nan=False)
changes = st.builds(
    Change,
    key_id=names,
    owner_id=names,
    gen=numbers,
    kills_below=numbers,
    kills_from=moments,
    dead=st.booleans(),
    suspends=st.booleans(),
    floor_until=moments,
    at=moments,
)
floors = st.builds(Floor, key_id=names, gen=numbers, dead=st.booleans(), suspends=st.booleans(), until=moments)
marks = st.builds(PollMark, polled_at=moments, followed_since=moments)
anything = changes | floors | marks
KINDS: tuple[type[Any], ...] = (Change, Floor, PollMark)


def read(kind: type[Any], text: str) -> object:
    return unsign(kind, text, PEPPERS)


@given(what=anything)
def test_signed_text_is_read_back(what: Change | Floor | PollMark) -> None:
    """What one process signs, another with the same pepper reads as it was."""
    assert read(type(what), sign(what, PEPPERS)) == what


@given(what=anything)
def test_kind_cannot_be_exchanged(what: Change | Floor | PollMark) -> None:
    """A floor's text is no change, a change's no floor, and neither is a poll mark."""
    text = sign(what, PEPPERS)
    assert [read(kind, text) is not None for kind in KINDS] == [kind is type(what) for kind in KINDS]


@given(what=anything, place=st.integers(0), other=st.characters(codec="utf-8"))
def test_one_changed_character_makes_it_nobodys_word(what: Change | Floor | PollMark, place: int, other: str) -> None:
    """Whoever can write to Redis cannot change a signed text anywhere."""
    text = sign(what, PEPPERS)
    place %= len(text)
    assume(text[place] != other)
    assert read(type(what), text[:place] + other + text[place + 1 :]) is None


@given(what=changes, cut=st.integers(0))
def test_cut_or_lengthened_text_is_nobodys_word(what: Change, cut: int) -> None:
    """A text cut short or with something behind it is not signed."""
    text = sign(what, PEPPERS)
    assert unsign(Change, text[: cut % len(text)], PEPPERS) is None
    assert unsign(Change, text + " ", PEPPERS) is None


@given(text=st.text(st.characters(codec="utf-8"), max_size=100) | names.map(lambda body: "0" * 64 + body))
def test_planted_text_is_nobodys_word(text: str) -> None:
    """A text nobody signed is refused without an error, whatever it is."""
    assert [read(kind, text) for kind in KINDS] == [None, None, None]


def test_word_of_another_deployment_is_nobodys() -> None:
    """A text signed under a pepper we do not have means nothing."""
    text = sign(Change(key_id="k"), Peppers((pepper("theirs"),)))
    assert unsign(Change, text, PEPPERS) is None


@pytest.mark.parametrize("retired", [True, False])
def test_word_under_an_older_pepper_still_counts(*, retired: bool) -> None:
    """A change can only take access away: a retired pepper's word is taken too."""
    text = sign(Change(key_id="k", dead=True), Peppers((pepper("p1"),)))
    rotated = Peppers((pepper("p2"), pepper("p1", retired=retired)))
    assert unsign(Change, text, rotated) == Change(key_id="k", dead=True)


def test_fields_of_a_later_version_are_passed_over() -> None:
    """A newer process may say more than an older one understands."""
    body = json.dumps({"key_id": "k", "kills_below": 3, "because": "later"})
    mac = PEPPERS.current.log.digest(b"Change:" + body.encode()).hex()
    assert unsign(Change, mac + body, PEPPERS) == Change(key_id="k", kills_below=3)


@given(change=changes)
def test_change_leaves_a_floor_only_while_it_is_to_be_kept(change: Change) -> None:
    """A change's floor is its generation, and whether it stopped the key, kept until the moment it names."""
    floor = change.floor
    if change.floor_until == 0:
        assert floor is None
    else:
        assert floor == Floor(
            key_id=change.key_id,
            gen=change.gen,
            dead=change.dead,
            suspends=change.suspends,
            until=change.floor_until,
        )
