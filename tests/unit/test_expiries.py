from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.errors import ChangeRefusedError, ConfigurationError
from keystile.expiries import cut, parse_expiry, parse_longest
from unit.builders import NOW


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("never", None),
        ("1d", NOW + timedelta(days=1)),
        ("90d", NOW + timedelta(days=90)),
        ("1y", NOW + timedelta(days=365)),
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31T12:00:00+02:00", datetime(2027, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_expiry_is_a_span_a_date_or_never(text: str, moment: datetime | None) -> None:
    """The words the command line knows mean what they say."""
    assert parse_expiry(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "0d", "-1d", "1.5d", "90", "d", "99999d", "9999y", "Never", "tomorrow", "٣d"])
def test_other_words_are_refused(text: str) -> None:
    """What is no expiry is refused in words, spans beyond the calendar too."""
    with pytest.raises(ChangeRefusedError, match="90d, 1y, never"):
        parse_expiry(text, NOW)


@given(text=st.text(max_size=20) | st.from_regex(r"\d{1,5}[dy]", fullmatch=True))
def test_any_text_is_an_expiry_or_refused(text: str) -> None:
    """No text makes reading fail in another way."""
    try:
        moment = parse_expiry(text, NOW)
    except ChangeRefusedError:
        return
    assert moment is None or moment.tzinfo is UTC


def test_longest_life_is_a_span_or_never() -> None:
    """A date is no length of time; `never` bounds nothing."""
    assert (parse_longest("never"), parse_longest("1y")) == (None, timedelta(days=365))
    for text in ("", "2027-01-31", "0d", "soon"):
        with pytest.raises(ConfigurationError, match="90d, 1y, or never"):
            parse_longest(text)


def test_expiry_is_cut_to_the_longest_life() -> None:
    """What ends before is left as it is."""
    longest = timedelta(days=30)
    assert cut(None, None, NOW) is None
    assert cut(None, longest, NOW) == cut(NOW + 2 * longest, longest, NOW) == NOW + longest
    assert cut(NOW + longest / 2, longest, NOW) == NOW + longest / 2
