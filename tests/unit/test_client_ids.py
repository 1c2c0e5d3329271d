from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.client_ids import ClientIds
from keystile.errors import KeyRefusedError, Reason
from keystile.keys import Stamps
from keystile.peppers import Peppers
from unit.builders import FORMAT, PEPPERS, pepper

IDS = ClientIds(PEPPERS)
ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def reason_of(text: str, ids: ClientIds = IDS) -> Reason:
    with pytest.raises(KeyRefusedError) as refused:
        ids.parse(text)
    return refused.value.reason


def test_ids_look_like_other_key_ids_and_are_all_different() -> None:
    """Twelve characters of [0-9a-z], read back, and no two the same."""
    drawn = [IDS.generate() for _ in range(10_000)]
    assert len({client.key_id for client in drawn}) == len(drawn)
    assert all(len(client.tag) == 12 and set(client.tag) <= set(ALPHABET) for client in drawn)
    assert all(IDS.parse(client.tag).stamp_pepper == "p1" for client in drawn)


@given(place=st.integers(0, 11), letter=st.sampled_from(ALPHABET))
def test_one_changed_character_is_forged(place: int, letter: str) -> None:
    """A made-up id, and a mistyped one, is thrown away before anybody is asked."""
    good = IDS.generate().tag
    changed = good[:place] + letter + good[place + 1 :]
    if changed != good:
        assert reason_of(changed) is Reason.FORGED


@pytest.mark.parametrize(
    "text", ["", "short", "A" * 12, "k3v9x0q2m7ab\n", "k3v9x0q2m7abc", "k3v9x0q2m7a\u00e9", "k" * 9_000]
)
def test_what_is_no_id_is_malformed(text: str) -> None:
    """Other shapes are not even hashed."""
    assert reason_of(text) is Reason.MALFORMED


def test_retired_pepper_stamps_ids_still() -> None:
    """An id outlives the pepper it was stamped under, as keys do; one under a lost pepper needs advisory stamps."""
    old = ClientIds(Peppers((pepper("old"),))).generate().tag
    both = Peppers((pepper("p1"), pepper("old", retired=True)))
    assert ClientIds(both).parse(old).stamp_pepper == "old"
    assert reason_of(old) is Reason.FORGED
    assert ClientIds(PEPPERS, stamps=Stamps.ADVISORY).parse(old).stamp_pepper is None


def test_no_presented_text_has_the_cache_name_of_an_id() -> None:
    """Verdicts on public keys are kept under names that nothing presented as a key can have."""
    client = IDS.generate()
    assert client.name not in {FORMAT.name(text.encode()) for text in (client.tag, client.reveal())}


def test_id_shows_itself_as_a_key_does() -> None:
    """Printing one gives what may be logged."""
    client = IDS.generate()
    assert repr(client) == str(client) == f"<ApiKey {client.tag}>"
