from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keystile.records import KeyRecord, UnreadableRecordError
from unit.builders import a_record
from unit.strategies import json_values, live_records

GOOD: dict[str, Any] = json.loads(a_record(digest="d" * 43, digest_pepper="p1", expires_at=None).to_text()) | {
    "expires_at": "2027-01-01T00:00:00Z",
    "policy": {"scopes": ["read"]},
}

BAD: dict[str, dict[str, Any]] = {
    "no version": {"v": None},
    "a later version": {"v": 2},
    "an earlier version": {"v": 0},
    "version as text": {"v": "1"},
    "id is a number": {"id": 7},
    "id is empty": {"id": ""},
    "id is null": {"id": None},
    "gen is text": {"gen": "1"},
    "gen is true": {"gen": True},
    "gen is a fraction": {"gen": 1.5},
    "unknown environment": {"env": "staging"},
    "environment is a number": {"env": 1},
    "unknown status": {"status": "paused"},
    "status is null": {"status": None},
    "expiry nobody can read": {"expires_at": "soon"},
    "expiry beyond the calendar": {"expires_at": "9999-12-31T23:59:59-14:00"},
    "expiry is a number": {"expires_at": 1893456000},
    "expiry is null": {"expires_at": None},
    "issued before the calendar": {"issued_at": "0001-01-01T00:00:00+14:00"},
    "unknown restriction": {"policy": {"scopes": ["read"], "allowed_networks": ["10.0.0.0/8"]}},
    "policy is a list": {"policy": ["scopes"]},
    "policy is null": {"policy": None},
    "scopes is text": {"policy": {"scopes": "read write"}},
    "scopes is null": {"policy": {"scopes": None}},
    "scopes holds a number": {"policy": {"scopes": [1]}},
    "audiences is an object": {"policy": {"audiences": {"a": "b"}}},
    "digest is a list": {"digest": ["d"]},
    "unknown revocation reason": {"revoked_reason": "boredom"},
    "active although revoked": {"revoked_at": "2026-01-01T00:00:00Z"},
    "half a character in the name": {"name": "\ud800"},
    "half a character in the digest": {"digest": "\udfff"},
    "half a character in the policy": {"policy": {"projects": ["\ud800"]}},
    "half a character in a later field": {"later": {"\ud800": 1}},
}


@pytest.mark.parametrize("changes", BAD.values(), ids=BAD.keys())
def test_record_that_says_what_we_cannot_know_is_unreadable(changes: dict[str, Any]) -> None:
    """A wrong type, an unknown version or an unknown restriction refuses the key instead of being ignored."""
    KeyRecord.from_text(json.dumps(GOOD))
    with pytest.raises(UnreadableRecordError) as unreadable:
        KeyRecord.from_text(json.dumps({**GOOD, **changes}))
    key_id = {**GOOD, **changes}["id"]
    assert unreadable.value.key_id == (key_id if isinstance(key_id, str) else None)


@pytest.mark.parametrize("name", ["v", "id", "gen", "env", "issued_at"])
def test_record_without_a_needed_field_is_unreadable(name: str) -> None:
    """What every record has, each record must have."""
    with pytest.raises(UnreadableRecordError):
        KeyRecord.from_text(json.dumps({key: value for key, value in GOOD.items() if key != name}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        '"text"',
        "7",
        "NaN",
        "{",
        "\ud800",
        '{"v":1,"id":"\ud800"}',
        "[" * 100_000,
        '{"v":' * 100_000,
        "1" * 5_000,
        '{"v":1,"id":"a","gen":' + "9" * 5_000 + "}",
        "\ufeff{}",
        "key:abc:$2b$12$" + "a" * 53,
        '{"v":1}' * 2,
    ],
    ids=lambda text: f"{text[:12]!r}…{len(text)}".encode("ascii", "backslashreplace").decode(),
)
def test_what_is_no_record_is_unreadable(text: str) -> None:
    """Huge, deep, broken or foreign values end in one kind of error."""
    with pytest.raises(UnreadableRecordError):
        KeyRecord.from_text(text)


@given(text=st.text(st.characters(), max_size=60) | json_values.map(json.dumps))
def test_any_text_is_read_or_unreadable(text: str) -> None:
    """No text makes reading fail in another way."""
    with pytest.raises(UnreadableRecordError):
        KeyRecord.from_text(text)


@given(record=live_records, name=st.sampled_from(sorted(GOOD)), value=json_values)
@example(record=a_record(), name="gen", value=2**70)
def test_any_value_in_any_field_is_read_or_unreadable(record: KeyRecord, name: str, value: object) -> None:
    """Whatever stands in a field, the record is read, and can then be written again, or is unreadable."""
    document = {**json.loads(record.to_text()), name: value}
    try:
        read = KeyRecord.from_text(json.dumps(document))
    except UnreadableRecordError:
        return
    assert KeyRecord.from_text(read.to_text()) == read


@given(record=live_records, place=st.integers(0), other=st.characters())
def test_one_changed_character_never_breaks_the_reader(record: KeyRecord, place: int, other: str) -> None:
    """A record damaged anywhere is read or unreadable."""
    text = record.to_text()
    place %= len(text)
    with suppress(UnreadableRecordError):
        KeyRecord.from_text(text[:place] + other + text[place + 1 :])
