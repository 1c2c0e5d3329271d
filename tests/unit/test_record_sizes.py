from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keystile.errors import RecordTooLargeError
from keystile.records import MAX_TEXT, REVOKE_RESERVE, KeyRecord, RevocationReason, Status
from keystile.restrictions import Policy
from unit.builders import NOW, a_record

LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def units(text: str) -> int:
    """Count as Java does, whose length limit Keycloak applies."""
    return len(text.encode("utf-16-le")) // 2


def padded(size: int, letter: str = "a", **changes: object) -> KeyRecord:
    """Return a record whose text would take *size* units."""
    empty = units(a_record(policy=Policy(projects=("",)), **changes).to_text())
    return a_record(policy=Policy(projects=(letter * ((size - empty) // units(letter)),)), **changes)


def test_record_may_fill_all_but_the_reserve() -> None:
    """A change may make a record take 3,840 characters, and not one more."""
    room = MAX_TEXT - REVOKE_RESERVE
    padded(room).check_room()
    with pytest.raises(RecordTooLargeError):
        padded(room + 1).check_room()


def test_no_record_is_stored_that_takes_more_than_the_attribute() -> None:
    """A store is given at most 4,096 characters, whoever made the record."""
    assert units(padded(MAX_TEXT).to_text()) == MAX_TEXT
    with pytest.raises(RecordTooLargeError):
        padded(MAX_TEXT + 1).to_text()


def test_length_is_counted_as_keycloak_counts_it() -> None:
    """A letter outside the basic plane counts twice, as it does in Java."""
    with pytest.raises(RecordTooLargeError):
        padded(MAX_TEXT, "\U0001f511").check_room()


@given(
    size=st.integers(400, MAX_TEXT),
    gen=st.integers(0, 2**53),
    name=st.text(max_size=100),
    reason=st.sampled_from(RevocationReason),
    status=st.sampled_from([Status.ACTIVE, Status.SUSPENDED]),
)
def test_every_record_that_could_be_stored_can_be_revoked(
    size: int, gen: int, name: str, reason: RevocationReason, status: Status
) -> None:
    """Suspending, resuming and revoking are never refused for want of room."""
    record = padded(size, gen=1, name=name, expires_at=LAST, issued_by="cli:" + "u" * 32)
    try:
        record.check_room()
    except RecordTooLargeError:
        assume(False)  # noqa: FBT003 - hypothesis's way of saying so
    later = record if status is Status.ACTIVE else record.suspended(gen)
    for each in (later, later.suspended(gen), later.suspended(gen).resumed()):
        assert units(each.to_text()) <= MAX_TEXT
    assert units(later.revoked(LAST, reason, gen).to_text()) <= MAX_TEXT


def a_suspended(record: KeyRecord, gen: int) -> KeyRecord:
    return a_record(policy=record.policy, name=record.name, gen=gen, expires_at=LAST).suspended(gen, "key:" + "é" * 99)


def test_too_large_a_record_says_so_without_showing_it() -> None:
    """The error names key and sizes, not what the record holds."""
    with pytest.raises(RecordTooLargeError, match=r"k3v9x0q2m7ab would take \d+ of 3840") as refused:
        padded(5_000).check_room()
    assert "aaaa" not in str(refused.value)


def test_tombstone_is_small() -> None:
    """Ten tombstones of the largest records take less room than one live record."""
    dead = padded(MAX_TEXT - REVOKE_RESERVE, digest="d" * 43, digest_pepper="p1").revoked(
        NOW, RevocationReason.CESSATION, 2**53
    )
    assert units(dead.to_text()) < 384
