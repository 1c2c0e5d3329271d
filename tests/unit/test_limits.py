"""Levels, buckets and windows: what is counted where, without anybody counting."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.errors import ConfigurationError
from keystile.limits import DEFAULT_LEVELS, Levels, Measure, Quota, counter_name, share, window_of
from keystile.restrictions import Policy
from unit.builders import LEVELS, a_record, an_owner

OWNER = an_owner(id="owner-1")


def quotas(*most: int) -> tuple[Quota, ...]:
    return tuple(Quota(measure, number) for measure, number in zip(Measure, most, strict=True))


def test_the_presets_are_those_of_the_issue() -> None:
    """User, tenant and admin have their numbers, and 300,000 requests a month each."""
    assert {level.name: level.quotas for level in Levels.parse(DEFAULT_LEVELS).presets} == {
        "user": quotas(1_000, 10_000, 300_000, 1_000),
        "tenant": quotas(5_000, 50_000, 300_000, 5_000),
        "admin": quotas(10_000, 100_000, 300_000, 10_000),
    }


def test_a_key_has_no_limits_unless_somebody_set_them() -> None:
    """Neither level nor numbers, and no default: nothing is counted."""
    assert LEVELS.buckets_of(a_record(), OWNER) == ()


def test_a_level_is_shared_by_the_keys_of_one_owner() -> None:
    """Two keys of an owner at one level count together; another level, or owner, is another count."""
    user = Policy(level="user")
    (one,) = LEVELS.buckets_of(a_record(policy=user), OWNER)
    assert LEVELS.buckets_of(a_record(key_id="another", policy=user), OWNER) == (one,)
    assert one.name == "owner:owner-1:user"
    assert LEVELS.buckets_of(a_record(policy=user), an_owner(id="owner-2"))[0].name == "owner:owner-2:user"
    assert LEVELS.buckets_of(a_record(policy=Policy(level="admin")), OWNER)[0].name == "owner:owner-1:admin"


def test_numbers_are_the_key_s_own_and_count_beside_its_level() -> None:
    """Explicit limits replace nothing: a request counts in both buckets."""
    policy = Policy(level="user", requests_per_day=7, cost_cents_per_month=0)
    shared, own = LEVELS.buckets_of(a_record(policy=policy), OWNER)
    assert shared.quotas == quotas(1_000, 10_000, 300_000, 1_000)
    assert (own.name, own.title) == ("key:k3v9x0q2m7ab", "key")
    assert own.quotas == (Quota(Measure.DAY, 7), Quota(Measure.COST, 0))
    assert own.has_cost


def test_the_default_level_is_for_keys_that_name_none() -> None:
    """A key's own level comes before the default one; numbers of its own do not replace it."""
    levels = Levels.parse(DEFAULT_LEVELS, "tenant")
    assert [bucket.title for bucket in levels.buckets_of(a_record(), OWNER)] == ["tenant"]
    assert [bucket.title for bucket in levels.buckets_of(a_record(policy=Policy(level="user")), OWNER)] == ["user"]
    own = a_record(policy=Policy(requests_per_hour=1))
    assert [bucket.title for bucket in levels.buckets_of(own, OWNER)] == ["tenant", "key"]


def test_a_dash_is_no_limit() -> None:
    """A level may leave measures out; one that leaves all out limits nothing."""
    levels = Levels.parse("small:-/5/-/-, free:-/-/-/-")
    (bucket,) = levels.buckets_of(a_record(policy=Policy(level="small")), OWNER)
    assert bucket.quotas == (Quota(Measure.DAY, 5),)
    assert not bucket.has_cost
    assert levels.buckets_of(a_record(policy=Policy(level="free")), OWNER) == ()
    assert levels.knows(Policy(level="free"))


def test_numbers_are_at_most_what_a_header_can_say() -> None:
    """A limit of more than fifteen digits is one of fifteen."""
    (bucket,) = LEVELS.buckets_of(a_record(policy=Policy(requests_per_hour=10**40)), OWNER)
    assert bucket.quotas == (Quota(Measure.HOUR, 10**15 - 1),)


@pytest.mark.parametrize(
    "text",
    [
        "user",
        "user:1/2/3",
        "user:1/2/3/4/5",
        "user:1/2/3/",
        "user:1/2/3/four",
        "user:1/2/3/--",
        "user:1/2/3/-4",
        f"user:1/2/3/{10**15}",
        "User:1/2/3/4",
        "a:b:1/2/3/4",
        ":1/2/3/4",
        "key:1/2/3/4",
        "user:1/2/3/4,user:1/2/3/4",
    ],
)
def test_levels_that_cannot_be_read_are_a_fault(text: str) -> None:
    """A level is told apart, complete, and all numbers."""
    with pytest.raises(ConfigurationError):
        Levels.parse(text)


def test_the_default_level_is_a_configured_one() -> None:
    """A default that is no level would leave keys without limits."""
    with pytest.raises(ConfigurationError, match=r"'users'.*admin, tenant, user"):
        Levels.parse(DEFAULT_LEVELS, "users")


@pytest.mark.parametrize(
    ("measure", "label", "seconds", "ends"),
    [
        (Measure.HOUR, "2028-02-29T23", 3_600, datetime(2028, 3, 1, tzinfo=UTC)),
        (Measure.DAY, "2028-02-29", 86_400, datetime(2028, 3, 1, tzinfo=UTC)),
        (Measure.MONTH, "2028-02", 29 * 86_400, datetime(2028, 3, 1, tzinfo=UTC)),
        (Measure.COST, "2028-02", 29 * 86_400, datetime(2028, 3, 1, tzinfo=UTC)),
    ],
)
def test_windows_are_those_of_the_calendar(measure: Measure, label: str, seconds: int, ends: datetime) -> None:
    """The last second of a leap February is in its hour, day and month, all of which end together."""
    window = window_of(measure, datetime(2028, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC).timestamp())
    assert (window.label, window.seconds, window.ends_at) == (label, seconds, ends.timestamp())


@given(st.sampled_from(Measure), st.floats(0, 4e9))
def test_every_moment_is_in_one_window(measure: Measure, at: float) -> None:
    """A window holds its moments, and the next begins where it ends."""
    window = window_of(measure, at)
    assert window.ends_at - window.seconds <= at < window.ends_at
    following = window_of(measure, window.ends_at)
    assert following.ends_at - following.seconds == window.ends_at
    assert following.label > window.label


def test_a_counter_s_name_says_what_it_counts() -> None:
    """An operator can read it; nothing in it is secret."""
    (bucket,) = LEVELS.buckets_of(a_record(policy=Policy(level="user")), OWNER)
    window = window_of(Measure.HOUR, datetime(2026, 3, 1, 12, 30, tzinfo=UTC).timestamp())
    assert counter_name(bucket, Measure.HOUR, window) == "owner:owner-1:user:hour:2026-03-01T12"


@given(st.integers(1, 10**6), st.integers(1, 100), st.integers(0, 100))
def test_a_share_is_small_near_the_limit(left: int, needed: int, ahead: int) -> None:
    """Something is granted while something is left, never more than that, and beyond the need at most a tenth."""
    granted = share(left, needed, ahead)
    assert 1 <= granted <= left
    assert granted <= max(needed, left // 10)
    assert granted >= min(left, needed)
