from __future__ import annotations

import re
import string
from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keystile.errors import ConfigurationError, KeyRefusedError, Reason
from keystile.keys import MAX_KEY_BYTES, KeyFormat, Stamps, holds_credential, make_stamp, without_credentials
from keystile.peppers import Peppers
from unit.builders import FORMAT, PEPPERS, pepper

BASE62 = string.ascii_letters + string.digits
SHAPE = re.compile(r"mcpkey_live_[0-9a-z]{12}_[0-9A-Za-z]{38}")

keys = st.builds(lambda environment: FORMAT.generate(environment).reveal(), st.sampled_from(["live", "test"]))


def reason_of(presented: str, key_format: KeyFormat = FORMAT) -> Reason:
    with pytest.raises(KeyRefusedError) as refused:
        key_format.parse(presented)
    return refused.value.reason


@given(environment=st.sampled_from(["live", "test"]))
def test_generated_key_parses_to_itself(environment: str) -> None:
    """What is issued is what is read back: text, id, environment, stamp and cache name."""
    key = FORMAT.generate("test" if environment == "test" else "live")
    parsed = FORMAT.parse(key.reveal())
    assert parsed.reveal() == key.reveal()
    assert (parsed.key_id, parsed.environment, parsed.stamp_pepper) == (key.key_id, environment, "p1")
    assert (parsed.name, parsed.tag) == (key.name, key.key_id)


def test_issued_keys_keep_their_shape() -> None:
    """Ten thousand keys: alphabet, length, valid stamp, and no id or secret twice."""
    texts = [FORMAT.generate("live").reveal() for _ in range(100_000)]
    assert all(SHAPE.fullmatch(text) for text in texts)
    assert {len(text.encode()) for text in texts} == {63}
    assert all(FORMAT.parse(text).stamp_pepper == "p1" for text in texts)
    assert len({text.split("_")[2] for text in texts}) == len({text.split("_")[3][:32] for text in texts}) == 100_000


def test_every_character_of_the_alphabets_is_used() -> None:
    """Ids draw from 36 characters and secrets from 62, none of them rare."""
    texts = [FORMAT.generate("live").reveal() for _ in range(2_000)]
    in_ids = Counter("".join(text.split("_")[2] for text in texts))
    in_secrets = Counter("".join(text.split("_")[3][:32] for text in texts))
    assert set(in_ids) == set(string.digits + string.ascii_lowercase)
    assert set(in_secrets) == set(BASE62)
    assert min(in_ids.values()) > 24_000 / 36 / 2
    assert min(in_secrets.values()) > 64_000 / 62 / 2


@given(text=keys, place=st.integers(0, 62), other=st.characters(max_codepoint=0x2FFF, exclude_categories=["Cs"]))
def test_one_substituted_character_is_refused(text: str, place: int, other: str) -> None:
    """Any character in place of any other makes a key that proves nothing."""
    assume(text[place] != other)
    assert reason_of(text[:place] + other + text[place + 1 :]) in (Reason.MALFORMED, Reason.FORGED)


@given(text=keys, place=st.integers(0, 62))
def test_one_missing_character_is_refused(text: str, place: int) -> None:
    """A key cut short by one character anywhere is refused."""
    assert reason_of(text[:place] + text[place + 1 :]) is Reason.MALFORMED


@given(text=keys, place=st.integers(0, 63), other=st.sampled_from(BASE62 + "_-"))
def test_one_inserted_character_is_refused(text: str, place: int, other: str) -> None:
    """A key with one character too many anywhere is refused."""
    assert reason_of(text[:place] + other + text[place:]) is Reason.MALFORMED


@given(text=keys, place=st.integers(0, 61))
def test_two_swapped_neighbours_are_refused(text: str, place: int) -> None:
    """Exchanging two neighbouring characters, the last two included, is refused."""
    assume(text[place] != text[place + 1])
    swapped = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    assert reason_of(swapped) in (Reason.MALFORMED, Reason.FORGED)


@given(text=keys)
def test_change_of_case_is_refused(text: str) -> None:
    """A key is not the same in capitals or small letters."""
    for other in {text.upper(), text.lower(), text.swapcase()} - {text}:
        assert reason_of(other) in (Reason.MALFORMED, Reason.FORGED)


def test_stamp_of_another_deployment_is_forged() -> None:
    """A key made under a pepper we do not have is told from ours by its stamp alone."""
    theirs = KeyFormat(Peppers((pepper("theirs"),))).generate("live")
    assert reason_of(theirs.reveal()) is Reason.FORGED


def test_retired_pepper_still_recognises_its_stamps() -> None:
    """A key stamped before a pepper was retired is ours, and says by which pepper it was stamped."""
    old = KeyFormat(Peppers((pepper("p1"),))).generate("live")
    rotated = KeyFormat(Peppers((pepper("p2"), pepper("p1", retired=True))))
    assert rotated.parse(old.reveal()).stamp_pepper == "p1"


def test_new_keys_are_stamped_by_the_current_pepper() -> None:
    """The first pepper is the one that issues."""
    rotated = KeyFormat(Peppers((pepper("p2"), pepper("p1"))))
    assert rotated.generate("live").stamp_pepper == "p2"


def test_advisory_stamps_let_a_well_shaped_key_be_looked_up() -> None:
    """When the peppers are lost, a key with an unknown stamp is a key without a stamp, not a forgery."""
    theirs = KeyFormat(Peppers((pepper("theirs"),))).generate("live")
    parsed = KeyFormat(PEPPERS, stamps=Stamps.ADVISORY).parse(theirs.reveal())
    assert (parsed.stamp_pepper, parsed.key_id) == (None, theirs.key_id)


def test_advisory_stamps_still_refuse_what_has_no_shape() -> None:
    """Advisory is about stamps: length, alphabet and brand are demanded all the same."""
    advisory = KeyFormat(PEPPERS, stamps=Stamps.ADVISORY)
    text = advisory.generate("live").reveal()
    for other in (text[:-1], text + "a", text.replace("mcpkey", "othkey"), text.replace("_live_", "_prod_")):
        assert reason_of(other, advisory) is Reason.MALFORMED


@given(body=st.binary(max_size=80))
def test_stamp_is_six_base62_characters(body: bytes) -> None:
    """Whatever comes before it, a stamp is six characters of the alphabet, always the same ones."""
    stamp = make_stamp(PEPPERS.current, body)
    assert len(stamp) == 6
    assert set(stamp) <= set(BASE62)
    assert make_stamp(PEPPERS.current, body) == stamp


@pytest.mark.parametrize("brand", ["a", "acme", "a12345678901234"])
def test_longest_brand_still_fits_into_bcrypt(brand: str) -> None:
    """With any brand allowed, a key has at most the 72 bytes bcrypt reads."""
    branded = KeyFormat(PEPPERS, brand=brand)
    text = branded.generate("live").reveal()
    assert text.startswith(f"{brand}_live_")
    assert len(text.encode()) <= MAX_KEY_BYTES
    assert branded.parse(text).reveal() == text


@pytest.mark.parametrize("brand", ["", "A", "1a", "a-b", "a_b", "a" * 16, "ä", "a\n", ".*"])
def test_brand_that_could_not_work_is_refused(brand: str) -> None:
    """A brand that is too long, or holds what a pattern would read, stops the start."""
    with pytest.raises(ConfigurationError):
        KeyFormat(PEPPERS, brand=brand)


older_texts = st.builds(
    lambda environment, secret: f"mcpkey_{environment}_{secret}",
    st.sampled_from(["live", "test"]),
    st.text(BASE62 + "-_", min_size=43, max_size=43),
)


@given(text=older_texts)
def test_older_key_has_neither_id_nor_stamp(text: str) -> None:
    """A key of the older format is known by its text alone, and tagged by something that does not show it."""
    key = KeyFormat(PEPPERS, older=True).parse(text)
    assert (key.reveal(), key.key_id, key.stamp_pepper) == (text, None, None)
    assert re.fullmatch(r"[0-9a-f]{8}", key.tag)
    assert len(key.name) == 32


@given(text=older_texts)
def test_older_key_is_malformed_unless_older_keys_are_served(text: str) -> None:
    """Where no older keys are expected, their shape means nothing."""
    assert reason_of(text) is Reason.MALFORMED


@given(text=older_texts)
def test_older_key_of_another_length_is_malformed(text: str) -> None:
    """The older format has exactly 43 characters after the environment."""
    older = KeyFormat(PEPPERS, older=True)
    assert reason_of(text[:-1], older) is Reason.MALFORMED
    assert reason_of(text + "A", older) is Reason.MALFORMED


@given(one=st.binary(max_size=72), other=st.binary(max_size=72))
def test_cache_names_tell_texts_apart(one: bytes, other: bytes) -> None:
    """Two different texts never share a cache name."""
    assert (FORMAT.name(one) == FORMAT.name(other)) == (one == other)


@given(text=keys | st.text(max_size=70), at=st.integers(0, 62), letter=st.sampled_from(BASE62 + "_-é"))
def test_a_key_is_called_forged_by_one_rule(text: str, at: int, letter: str) -> None:
    """What is thrown away at once is exactly what `parse` calls forged, whatever was changed in a key."""
    text = text[:at] + letter + text[at + 1 :]
    reason = None
    try:
        FORMAT.parse(text)
    except KeyRefusedError as refusal:
        reason = refusal.reason
    read = FORMAT.read(text)
    assert (read if isinstance(read, Reason) else None) is reason


@given(key=keys, before=st.text(max_size=20), after=st.text(max_size=20))
def test_a_key_is_seen_wherever_it_stands(key: str, before: str, after: str) -> None:
    """A text with a key in it is known as one, under another brand and in small letters too, and not repeated."""
    text = f"{before}{key}{after}"
    assert holds_credential(text)
    assert holds_credential(text.lower())
    assert holds_credential(f"{before}{key.replace('mcpkey', 'acme')}{after}")
    assert key[25:] not in without_credentials(text)


@pytest.mark.parametrize(
    "text",
    ["alice", "shop_test_environments", "the_live_site", "k3v9x0q2m7ab", "https://mcp.example.com/mcp", "eyJ", ""],
)
def test_ordinary_words_are_no_credentials(text: str) -> None:
    """Names that only remind of a key are names."""
    assert not holds_credential(text)


def test_a_jwt_is_seen() -> None:
    """A JWT in a text is known as one, and not repeated."""
    key = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
    assert holds_credential(f"x {key} y")
    assert without_credentials(f"x {key} y") == "x (secret) y"
