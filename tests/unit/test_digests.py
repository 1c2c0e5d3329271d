from __future__ import annotations

import hashlib
import hmac
import re

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keystile import digests
from keystile.digests import bcrypt_hash, bcrypt_is_usable, bcrypt_matches, digest_matches, digest_of, older_hash_of
from keystile.keys import KeyFormat
from unit.builders import FORMAT, PEPPERS, pepper

KEY = FORMAT.generate("live")
HASHED = bcrypt_hash(KEY, 4)


def test_digest_is_43_characters_of_base64url() -> None:
    """A digest is short, and safe in JSON and in Redis."""
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", digest_of(KEY, pepper()))


def test_digest_proves_its_key_only() -> None:
    """Another key, another pepper or a changed digest does not match."""
    digest = digest_of(KEY, pepper())
    assert digest_matches(KEY, pepper(), digest)
    assert not digest_matches(FORMAT.generate("live"), pepper(), digest)
    assert not digest_matches(KEY, pepper("p2"), digest)


@given(digest=st.text(max_size=60) | st.just(""))
def test_hostile_digest_matches_nothing(digest: str) -> None:
    """Whatever a record holds in place of a digest is compared without an error, and does not match."""
    assert not digest_matches(KEY, pepper(), digest)


def test_bcrypt_is_over_the_whole_key() -> None:
    """The bcrypt string is one any other bcrypt makes of the key's text."""
    assert bcrypt.checkpw(KEY.reveal().encode(), HASHED.encode())
    assert bcrypt_matches(KEY, HASHED)
    assert not bcrypt_matches(FORMAT.generate("live"), HASHED)


@settings(max_examples=20)
@given(place=st.integers(0, 62))
def test_bcrypt_depends_on_every_character(place: int) -> None:
    """No part of the key is beyond what bcrypt reads: 63 bytes are fewer than 72."""
    text = KEY.reveal()
    changed = text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :]
    assert not bcrypt.checkpw(changed.encode(), HASHED.encode())


@pytest.mark.parametrize("variant", ["2a", "2b", "2y"])
def test_every_name_of_bcrypt_is_read(variant: str) -> None:
    """`$2a$`, `$2b$` and `$2y$` are the same function by three names, all found in older stores."""
    stored = f"${variant}$" + HASHED[4:]
    assert bcrypt_is_usable(stored)
    assert bcrypt_matches(KEY, stored)


@pytest.mark.parametrize("cost", ["00", "03", "15", "16", "31", "99"])
def test_stored_cost_beyond_bounds_is_not_paid(cost: str) -> None:
    """A record cannot make us spend hours, nor prove anything at a cost that is nothing."""
    stored = f"$2b${cost}$" + HASHED[7:]
    assert not bcrypt_is_usable(stored)
    assert not bcrypt_matches(KEY, stored)


@pytest.mark.parametrize("cost", range(4, 15))
def test_stored_cost_within_bounds_is_usable(cost: int) -> None:
    """Costs 4 to 14 are paid."""
    assert bcrypt_is_usable(f"$2b${cost:02}$" + HASHED[7:])


@given(stored=st.text(max_size=80) | st.from_regex(r"\$2[abxy]?\$\d{1,3}\$.{0,60}", fullmatch=True))
def test_unusable_bcrypt_string_matches_nothing(stored: str) -> None:
    """Whatever stands in place of a bcrypt string is refused without an error."""
    if not bcrypt_is_usable(stored):
        assert not bcrypt_matches(KEY, stored)


@given(salt_end=st.sampled_from("./0123456789ABCOZaeuz"))
def test_usable_bcrypt_string_never_makes_bcrypt_raise(salt_end: str) -> None:
    """A salt whose spare bits are set, at which bcrypt raises, is not usable; any other is checked."""
    stored = HASHED[:28] + salt_end + HASHED[29:]
    assert bcrypt_is_usable(stored) == (salt_end in ".Oeu")
    assert bcrypt_matches(KEY, stored) == (salt_end == HASHED[28])


def test_trailing_newline_makes_a_bcrypt_string_unusable() -> None:
    """A bcrypt string is exactly that."""
    assert not bcrypt_is_usable(HASHED + "\n")


def test_decoy_costs_what_a_new_key_costs() -> None:
    """The decoy is a bcrypt string of the cost new keys get, so a guess costs what a real key costs."""
    decoy = digests._DECOY  # noqa: SLF001 - its cost is the promise
    assert bcrypt_is_usable(decoy)
    assert int(decoy.split("$")[2]) == digests.BCRYPT_COST == 12


def test_decoy_runs_bcrypt_on_the_whole_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoy calls the same function, on the same bytes, as a real check."""
    calls: list[tuple[bytes, bytes]] = []

    def record(presented: bytes, stored: bytes) -> bool:
        calls.append((presented, stored))
        return False

    monkeypatch.setattr(bcrypt, "checkpw", record)
    digests.bcrypt_decoy(KEY)
    bcrypt_matches(KEY, HASHED)
    decoy, real = calls
    assert decoy[0] == real[0] == KEY.reveal().encode()
    assert decoy[1].split(b"$")[2] == b"12"


def test_new_key_is_hashed_at_cost_12() -> None:
    """Without being told otherwise, bcrypt runs at cost 12."""
    assert bcrypt_hash(KEY).startswith("$2b$12$")


def test_decoy_can_be_checked_for_real() -> None:
    """The decoy does not raise, and nothing known matches it."""
    digests.bcrypt_decoy(KEY)
    assert not bcrypt_matches(KEY, digests._DECOY)  # noqa: SLF001 - its use is the promise


@given(secret=st.binary(min_size=1, max_size=64))
def test_older_hash_is_what_older_stores_wrote(secret: bytes) -> None:
    """`cacheHash` is hex HMAC-SHA256 of the whole key."""
    key = KeyFormat(PEPPERS, older=True).parse("mcpkey_live_" + "x" * 43)
    assert older_hash_of(key, secret) == hmac.new(secret, b"mcpkey_live_" + b"x" * 43, hashlib.sha256).hexdigest()
