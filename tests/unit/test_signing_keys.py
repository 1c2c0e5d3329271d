from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from keystile.signing_keys import (
    LEEWAY,
    LIVE,
    MOST_PUBLISHED,
    NOTES_KEPT,
    NOTES_MOST,
    KeyState,
    Noted,
    PublishedKey,
    SigningNote,
    choose,
    is_ready,
    kept,
    published,
    seconds_needed,
    state_of,
)

NOW, MAX_AGE, TTL = 1_000_000.0, 300.0, 300.0
OLD = PublishedKey("old", "RS256", "rs256.pem")
NEW = PublishedKey("new", "RS256", "rs256-2.pem", NOW - 1)
LATER = PublishedKey("later", "RS256", "rs256-3.pem", NOW + 1)
OTHER = PublishedKey("other", "ES256", "es256.pem", NOW - 1)
SHOWN = PublishedKey("shown", "RS256", "mine.pem", may_sign=False)


def noted(age: float = 0.0, *, signs: str = "old", signs_for: float = 9e9, **loaded: float) -> Noted:
    return Noted(SigningNote(process="p", signs=signs, signs_for=signs_for, loaded=loaded), age)


def ready(key: PublishedKey, *notes: Noted, certain: bool = True) -> bool:
    return is_ready(key, notes, NOW, MAX_AGE, certain=certain)


def test_a_key_signs_when_every_process_has_shown_it_for_as_long_as_verifiers_keep_keys() -> None:
    """One process that shows it for a second less, or not at all, keeps all from using it."""
    assert ready(NEW, noted(new=MAX_AGE), noted(new=MAX_AGE + 5))
    assert ready(NEW, noted(age=1, new=MAX_AGE - 1))
    assert not ready(NEW, noted(new=MAX_AGE), noted(new=MAX_AGE - 1))
    assert not ready(NEW, noted(new=MAX_AGE), noted(old=9e9))


def test_a_process_that_died_counts_until_nobody_keeps_what_it_showed() -> None:
    """It stops counting `LIVE` and the cache time after its last word, and not before."""
    assert not ready(NEW, noted(new=MAX_AGE), noted(LIVE + MAX_AGE - 1))
    assert ready(NEW, noted(new=MAX_AGE), noted(LIVE + MAX_AGE))


def test_a_key_waits_for_its_date_and_for_certainty() -> None:
    """Not before its date, however long it is shown; and not while others had no time to speak."""
    assert not ready(LATER, noted(later=9e9))
    assert not ready(NEW, noted(new=9e9), certain=False)


def test_a_key_in_use_is_ready_for_everybody() -> None:
    """A process that starts anew signs as the others do, or as the deployment did before it was stopped."""
    assert ready(NEW, noted(signs="new"), certain=False)
    assert ready(NEW, noted(NOTES_KEPT * 2, signs="new"), certain=False)


def test_a_key_without_a_date_signs_at_once_unless_it_never_may() -> None:
    """What was there before dates goes on; what was only dropped in never signs."""
    assert ready(OLD, certain=False)
    assert not ready(SHOWN, noted(shown=9e9))


def test_the_newest_ready_key_of_the_algorithm_signs() -> None:
    """Another algorithm's signs only while none of the set one is ready."""
    keys = [OLD, NEW, LATER, OTHER, SHOWN]
    assert choose(keys, "RS256", {"old"}) == OLD
    assert choose(keys, "RS256", {"old", "new"}) == NEW
    assert choose(keys, "ES256", {"old", "new"}) == NEW
    assert choose(keys, "ES256", {"old", "new", "other"}) == OTHER


def test_where_nobody_can_tell_the_oldest_signs() -> None:
    """Without a word of others, the key that verifiers have known for longest is the safe one."""
    assert choose([LATER, NEW], "RS256", set()) == NEW
    assert choose([LATER, OTHER], "RS256", set()) == OTHER


def test_states_follow_from_what_is_ready() -> None:
    """Next is what would sign if it were ready; what neither signs nor will is previous."""
    keys = [OLD, NEW, LATER, OTHER, SHOWN]
    assert [state_of(key, keys, "RS256", {"old", "new"}) for key in keys] == [
        KeyState.PREVIOUS,
        KeyState.CURRENT,
        KeyState.NEXT,
        KeyState.PREVIOUS,
        KeyState.PREVIOUS,
    ]
    assert state_of(OTHER, keys, "ES256", {"old", "new"}) is KeyState.NEXT


def test_a_previous_key_is_needed_until_its_last_jwt_is_dead() -> None:
    """Its life and a verifier's leeway after the last process stopped signing with it; a dead one counts too."""
    hold = TTL + LEEWAY
    current = PublishedKey("new", "RS256", "rs256-2.pem", NOW - hold)

    def left(*notes: Noted) -> float:
        return seconds_needed(OLD, current, notes, NOW, TTL)

    assert left(noted(signs="new", signs_for=hold)) == 0
    assert left(noted(signs="new", signs_for=hold - 7)) == 7
    assert left(noted(signs="old")) == hold
    assert left(noted(signs="new"), noted(LIVE + 10, signs="old")) == hold - 10
    assert left(noted(signs="new"), noted(LIVE + hold, signs="old")) == 0
    assert seconds_needed(OLD, NEW, [noted(signs="new")], NOW, TTL) == hold - 1


@given(
    st.lists(st.tuples(st.floats(0, 2 * NOTES_KEPT), st.uuids().map(str)), max_size=40, unique_by=lambda each: each[1])
)
def test_notes_are_bounded_and_the_newest_is_kept(ages: list[tuple[float, str]]) -> None:
    """What is kept is young or the newest, and never more than the bound."""
    left = kept(ages)
    assert len(left) <= NOTES_MOST
    assert all(name in left for age, name in ages if age <= NOTES_KEPT)
    if ages:
        assert min(ages)[1] in left
        assert len([1 for age, name in ages if age > NOTES_KEPT and name in left]) <= 1


def test_a_flood_of_notes_leaves_the_newest() -> None:
    """Processes that come and go by the hundred do not push out those that speak."""
    assert kept([(float(number), str(number)) for number in range(NOTES_MOST + 9)]) == {
        str(number) for number in range(NOTES_MOST)
    }


keys_of_any_age = st.lists(
    st.builds(
        PublishedKey,
        kid=st.uuids().map(str),
        algorithm=st.sampled_from(["RS256", "ES256"]),
        name=st.uuids().map(str),
        not_before=st.none() | st.floats(0, 2 * NOW),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda key: key.kid,
)


@given(keys_of_any_age, st.data())
def test_whatever_there_is_one_key_signs_and_is_shown(keys: list[PublishedKey], data: st.DataObject) -> None:
    """One key is current, at most ten are shown, the signing one first, and no next one is ready."""
    ready_kids = data.draw(st.sets(st.sampled_from([key.kid for key in keys])))
    states = {key.kid: state_of(key, keys, "RS256", ready_kids) for key in keys}
    (current,) = [kid for kid, state in states.items() if state is KeyState.CURRENT]
    shown = published(keys, current)
    assert shown[0].kid == current
    assert len(shown) == min(len(keys), MOST_PUBLISHED)
    assert current in ready_kids or not ready_kids
    assert not ready_kids & {kid for kid, state in states.items() if state is KeyState.NEXT}
