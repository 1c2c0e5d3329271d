from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.errors import ChangeRefusedError
from keystile.expiries import parse_expiry
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
