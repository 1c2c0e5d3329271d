from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.older import is_older_value, older_attribute, older_attributes, read_older, write_older
from keystile.records import RevocationReason, Status, UnreadableRecordError
from unit.builders import NOW, SOME_BCRYPT

VALUE = f"key:abc-1:{SOME_BCRYPT}"


def beside(**fields: str) -> dict[str, list[str]]:
    return {older_attribute("abc-1", field): [value] for field, value in fields.items()}


def test_older_value_is_read_as_it_is() -> None:
    """Every attribute beside an older value is understood: name, dates and hash."""
    record = read_older(
        VALUE,
        beside(
            name=" CI runner ",
            created="2024-05-01T10:00:00",
            expiresAt="2027-05-01T10:00:00+02:00",
            lastUsed="2025-01-01",
            cacheHash="AB" * 32,
        ),
    )
    assert (record.key_id, record.name, record.bcrypt, record.gen) == ("abc-1", "CI runner", SOME_BCRYPT, 0)
    assert record.issued_at == datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert record.expires_at == datetime(2027, 5, 1, 8, tzinfo=UTC)
    assert record.older_hash == "ab" * 32
    assert record.is_older
    assert record.status is Status.ACTIVE


def test_older_value_may_stand_alone() -> None:
    """An older value without attributes is a key without name, expiry or hash; its dates are not made up."""
    record = read_older(VALUE, {})
    assert (record.name, record.expires_at, record.older_hash) == ("", None, "")
    assert record.issued_at.timestamp() == 0
    assert record.is_older


@pytest.mark.parametrize("expiry", ["soon", "31.12.2027", "1893456000000000", "9999-12-31T23:59:59-14:00"])
def test_older_key_with_an_unreadable_expiry_is_refused(expiry: str) -> None:
    """An expiry nobody can read must not make a key eternal."""
    with pytest.raises(UnreadableRecordError) as unreadable:
        read_older(VALUE, beside(expiresAt=expiry))
    assert unreadable.value.key_id == "abc-1"


def test_attributes_of_another_key_do_not_count() -> None:
    """Each key has its own attributes: those of a neighbour change nothing."""
    others = {older_attribute("abc-12", "expiresAt"): ["2020-01-01"], older_attribute("abc", "name"): ["other"]}
    assert read_older(VALUE, others) == read_older(VALUE, {})


@given(
    value=st.text(max_size=90) | st.from_regex(r"key:[a-z:/ ]{0,9}:\$2[abxy]\$1\d\$.{50,55}", fullmatch=True),
    expiry=st.text(max_size=30),
)
def test_any_value_is_read_or_unreadable(value: str, expiry: str) -> None:
    """Whatever stands in the attributes, reading ends in a record or in one kind of error."""
    key_id = value.split(":")[1] if value.count(":") > 1 else ""
    try:
        record = read_older(value, {older_attribute(key_id, "expiresAt"): [expiry]})
    except UnreadableRecordError:
        return
    assert write_older(record) == value


@pytest.mark.parametrize(
    "value",
    [
        "",
        "key:",
        "key:abc",
        f"key::{SOME_BCRYPT}",
        f"key:a b:{SOME_BCRYPT}",
        f"key:{'a' * 65}:{SOME_BCRYPT}",
        f"key:abc:{SOME_BCRYPT}\n",
        f"key:abc:{SOME_BCRYPT[:-1]}",
        "key:abc:" + SOME_BCRYPT.replace("$2b$", "$2x$"),
        "key:abc:plain text",
        f"KEY:abc:{SOME_BCRYPT}",
    ],
)
def test_other_values_are_unreadable(value: str) -> None:
    """Only `key:{id}:{bcrypt}` is an older value."""
    with pytest.raises(UnreadableRecordError):
        read_older(value, {})


def test_older_values_are_told_from_records() -> None:
    """The two forms of an `apiKeys` value cannot be mistaken for each other."""
    assert is_older_value(VALUE)
    assert not is_older_value('{"v":1}')
    assert write_older(read_older(VALUE, {})) == VALUE


def test_attributes_of_an_older_key_are_known_by_name() -> None:
    """Whoever removes an older key knows all that stands beside it."""
    assert older_attributes("abc") == (
        "apiKey_abc_name",
        "apiKey_abc_created",
        "apiKey_abc_expiresAt",
        "apiKey_abc_lastUsed",
        "apiKey_abc_cacheHash",
    )


def test_revoked_older_key_becomes_a_record_of_the_current_form() -> None:
    """The tombstone of an older key is kept like any other."""
    dead = read_older(VALUE, beside(name="CI")).revoked(NOW, RevocationReason.UNSPECIFIED, 0)
    assert not dead.is_older
    assert (dead.key_id, dead.name, dead.gen) == ("abc-1", "CI", 1)
