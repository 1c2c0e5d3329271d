from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.records import KeyRecord, RevocationReason, Status, format_moment, parse_moment
from keystile.restrictions import Policy
from unit.builders import DAY, NOW, a_record, an_owner
from unit.strategies import json_values, live_records, moments, records

if TYPE_CHECKING:
    from typing import Any


@given(record=records)
def test_text_form_is_read_back(record: KeyRecord) -> None:
    """A record comes back as it was written, fields of later versions included."""
    assert KeyRecord.from_text(record.to_text()) == record


@given(record=records)
def test_text_form_is_one_compact_line(record: KeyRecord) -> None:
    """The text form is compact JSON that names its version, and leaves out what is empty."""
    document = json.loads(record.to_text())
    assert document["v"] == 1
    assert all(document[name] not in ("", None, {}) for name in document if not name.startswith("x_"))


@given(record=live_records, name=st.from_regex(r"later_[a-z]{1,9}", fullmatch=True), value=json_values)
def test_fields_of_later_versions_survive_a_rewrite(record: KeyRecord, name: str, value: object) -> None:
    """An older process that reads and writes a record loses nothing a newer one put there."""
    document = {**json.loads(record.to_text()), name: value}
    rewritten = json.loads(KeyRecord.from_text(json.dumps(document)).to_text())
    assert rewritten == document


def test_later_field_cannot_take_the_place_of_a_known_one() -> None:
    """What is kept for later versions never overrides what this version knows."""
    record = a_record(extra={"gen": 99, "status": "active", "v": 2}, status=Status.SUSPENDED)
    read = KeyRecord.from_text(record.to_text())
    assert (read.gen, read.status, dict(read.extra)) == (1, Status.SUSPENDED, {})


@given(moment=moments)
def test_moments_are_read_back(moment: datetime) -> None:
    """Any moment a calendar knows is written in UTC and read back."""
    text = format_moment(moment)
    assert text.endswith("Z")
    assert parse_moment(text) == moment


@given(moment=st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)))  # noqa: DTZ001 - naive on purpose
def test_naive_moment_means_utc(moment: datetime) -> None:
    """A moment without a zone is in UTC, whatever the zone of this machine."""
    assert parse_moment(moment.isoformat()) == moment.replace(tzinfo=UTC)


def test_moment_with_a_zone_is_brought_to_utc() -> None:
    """A moment of another zone is the same moment."""
    there = datetime(2026, 3, 1, 14, 0, tzinfo=timezone(timedelta(hours=2)))
    assert parse_moment(there.isoformat()) == NOW
    assert parse_moment(there.isoformat()).tzinfo is UTC


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "2026-13-01", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-03-01T25:00"]
)
def test_unreadable_moment_is_a_value_error(text: str) -> None:
    """Moments beyond the calendar are as unreadable as nonsense is."""
    with pytest.raises(ValueError, match=r".*"):
        parse_moment(text)


@pytest.mark.parametrize(
    ("changes", "expired"),
    [
        ({"expires_at": None}, False),
        ({"expires_at": NOW + timedelta(seconds=1)}, False),
        ({"expires_at": NOW}, True),
        ({"expires_at": NOW - DAY}, True),
    ],
)
def test_key_expires_at_its_moment(changes: dict[str, Any], *, expired: bool) -> None:
    """A key is good until its expiry, and no longer at it."""
    assert a_record(**changes).is_expired(NOW) is expired
    assert a_record(**changes).is_live(NOW) is not expired


@given(record=live_records, gen=st.integers(0, 2**53), reason=st.sampled_from(RevocationReason))
def test_tombstone_grants_nothing(record: KeyRecord, gen: int, reason: RevocationReason) -> None:
    """A revoked record keeps what proves who presents it, and nothing that could be used."""
    dead = record.revoked(NOW, reason, gen)
    assert (dead.status, dead.revoked_at, dead.revoked_reason) == (Status.REVOKED, NOW, reason)
    assert (dead.digest, dead.digest_pepper, dead.key_id) == (record.digest, record.digest_pepper, record.key_id)
    assert not dead.bcrypt
    assert not any((dead.policy.scopes, dead.policy.audiences, dead.policy.projects, dead.extra))
    assert dead.gen > record.gen
    assert dead.gen >= gen


def test_suspended_keys_count_as_live_and_dead_ones_do_not() -> None:
    """The limit per owner counts what may be used again."""
    dead = a_record(key_id="dead").revoked(NOW, RevocationReason.UNSPECIFIED, 0)
    owner = an_owner(
        a_record(),
        a_record(key_id="suspended", status=Status.SUSPENDED),
        a_record(key_id="expired", expires_at=NOW),
        dead,
    )
    assert owner.live(NOW) == 2


def test_record_takes_the_place_of_its_predecessor() -> None:
    """An owner has one record per key, and a look-up value for each."""
    owner = an_owner(a_record(), a_record(key_id="other")).with_record(a_record(gen=2))
    assert sorted((record.key_id, record.gen) for record in owner.records) == [("k3v9x0q2m7ab", 2), ("other", 1)]
    assert owner.record("k3v9x0q2m7ab") == a_record(gen=2)
    assert owner.record("nobody") is None
    assert owner.lookups == {"k3v9x0q2m7ab"}


def test_limit_of_zero_is_kept() -> None:
    """Nothing allowed is the strictest limit there is, and not the absence of one."""
    policy = Policy(requests_per_hour=0, cost_cents_per_month=0, max_tokens_per_request=0)
    assert KeyRecord.from_text(a_record(policy=policy).to_text()).policy == policy
