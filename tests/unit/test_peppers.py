from __future__ import annotations

import base64
import hmac
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.errors import ConfigurationError
from keystile.peppers import MIN_SECRET_BYTES, Mac, Pepper, Peppers, new_pepper
from unit.builders import pepper

PURPOSES = ("stamp", "proof", "cache_name", "cache_seal", "lookup", "log", "index", "tag")
GOOD = base64.urlsafe_b64encode(b"\xfb\xff" * 16).decode()

ids = st.from_regex(r"[a-z0-9-]{1,16}", fullmatch=True)
secrets = st.binary(min_size=MIN_SECRET_BYTES, max_size=64)


@given(key=st.binary(min_size=32, max_size=32), message=st.binary(max_size=300))
def test_mac_equals_hmac(key: bytes, message: bytes) -> None:
    """The prepared MAC is HMAC-SHA256, whatever the key and the message."""
    assert Mac(key).digest(message) == hmac.digest(key, message, "sha256")


@given(messages=st.lists(st.binary(max_size=80), min_size=2, max_size=5))
def test_mac_keeps_nothing_of_earlier_messages(messages: list[bytes]) -> None:
    """The same MAC object gives the same answer however often it was used before."""
    mac = Mac(b"k" * 32)
    assert [mac.digest(message) for message in messages] == [Mac(b"k" * 32).digest(message) for message in messages]


@given(secret=secrets)
def test_no_two_purposes_share_a_key(secret: bytes) -> None:
    """A digest can never be used as a stamp, a cache name or anything else."""
    one = Pepper("p1", secret)
    answers = {getattr(one, purpose).digest(b"same") for purpose in PURPOSES}
    assert len(answers) == len(PURPOSES)
    assert secret not in answers


@given(one=ids, other=ids, secret=secrets, padded=st.booleans())
def test_text_form_is_read_back(one: str, other: str, secret: bytes, *, padded: bool) -> None:
    """`id:secret[:retired]` gives what was written, with or without base64 padding."""
    text = base64.urlsafe_b64encode(secret).decode()
    text = text if padded else text.rstrip("=")
    listed = f" {one}:{text} , , {other}:{text}:retired" if one != other else f"{one}:{text}"
    peppers = Peppers.parse(listed)
    assert (peppers.current.id, peppers.current.secret, peppers.current.retired) == (one, secret, False)
    assert [p.retired for p in peppers.all[1:]] == [True] * (one != other)


def test_new_pepper_is_read_back_and_differs_each_time() -> None:
    """A fresh pepper has 32 random bytes."""
    first, second = Peppers.parse(new_pepper("p1")), Peppers.parse(new_pepper("p1"))
    assert len(first.current.secret) == MIN_SECRET_BYTES
    assert first.current.secret != second.current.secret


def test_new_pepper_has_an_id_nobody_had_before() -> None:
    """A pepper made after a loss never passes for the lost one."""
    ids = {Peppers.parse(new_pepper()).current.id for _ in range(1_000)}
    assert len(ids) == 1_000


@pytest.mark.parametrize("pepper_id", ["P1", "a" * 17, "a:b", "a,b", "p1\n"])
def test_pepper_nobody_could_read_is_not_made(pepper_id: str) -> None:
    """An id that the setting would refuse is refused before it is copied there."""
    with pytest.raises(ConfigurationError):
        new_pepper(pepper_id)


def test_only_accepted_peppers_prove() -> None:
    """What a retired or unknown pepper signed proves nothing."""
    peppers = Peppers((pepper("p3"), pepper("p2"), pepper("p1", retired=True)))
    assert [p.id for p in peppers.accepted] == ["p3", "p2"]
    proving = {pepper_id: peppers.proving(pepper_id) for pepper_id in ("p3", "p2", "p1", "p0", "")}
    assert {pepper_id for pepper_id, found in proving.items() if found} == {"p3", "p2"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        " , ",
        GOOD,
        f"P1:{GOOD}",
        f"p1:{GOOD}:retired",
        f"p1:{GOOD}:old",
        f"p1:{GOOD}:retired:x",
        f"p1:{GOOD},p1:{GOOD}",
        f"{'p' * 17}:{GOOD}",
        f":{GOOD}",
        "p1:" + GOOD[:-5],
        "p1:" + GOOD[:-1] + "!",
        "p1:" + GOOD + "ä",
        "p1:" + GOOD[:20],
        f"p1:{GOOD}\np2:{GOOD}",
    ],
)
def test_unusable_peppers_stop_the_start_without_showing_a_secret(text: str) -> None:
    """Whatever is wrong with the setting, neither message nor traceback repeats any of its secrets."""
    with pytest.raises(ConfigurationError) as refused:
        Peppers.parse(text)
    told = "".join(traceback.format_exception(refused.value))
    assert GOOD[:12] not in told


def test_printing_a_pepper_does_not_show_its_secret() -> None:
    """Repr of a pepper, and of what holds peppers, is safe to log."""
    one = Pepper("p1", b"do-not-show".ljust(32, b"."))
    assert "do-not-show" not in repr(one)
    assert "do-not-show" not in repr((one, Peppers((one,)).all))
