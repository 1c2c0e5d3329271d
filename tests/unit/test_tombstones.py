from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from keystile.records import MAX_TOMBSTONES, KeyRecord, RevocationReason, Status
from unit.builders import NOW, a_record, an_owner


def a_tombstone(number: int) -> KeyRecord:
    """Return the tombstone of a key revoked *number* days after NOW."""
    record = a_record(key_id=f"dead{number:08}")
    return record.revoked(NOW + timedelta(days=number), RevocationReason.UNSPECIFIED, 0)


@given(order=st.permutations(range(15)))
def test_latest_ten_tombstones_stay(order: list[int]) -> None:
    """Whatever the order in which they came, the ten latest stay, and the others go with their look-up values."""
    owner = an_owner(a_record()).with_record(a_record(key_id="alive"))
    for number in order:
        owner = owner.with_record(a_tombstone(number))
    dead = {record.key_id for record in owner.records if record.status is Status.REVOKED}
    assert dead == {a_tombstone(number).key_id for number in range(15 - MAX_TOMBSTONES, 15)}
    assert owner.lookups == dead | {"alive"}
    assert {record.key_id for record in owner.records} - dead == {"k3v9x0q2m7ab", "alive"}


def test_live_records_are_never_purged() -> None:
    """However many keys an owner has, only the dead make room."""
    owner = an_owner(*(a_record(key_id=f"alive{number:07}") for number in range(30)))
    assert owner.without_old_tombstones() == owner


def test_tombstone_without_a_date_is_the_oldest_by_its_issue() -> None:
    """A tombstone somebody else wrote without a date is purged by the date of issue."""
    undated = a_record(key_id="undated", status=Status.REVOKED, issued_at=NOW - timedelta(days=1))
    owner = an_owner(undated, *(a_tombstone(number) for number in range(MAX_TOMBSTONES)))
    assert owner.without_old_tombstones().record("undated") is None
