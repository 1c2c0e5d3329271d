"""Counting on leases: near as cheap as not counting, and never one request too many."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from keystile.errors import CannotTellError, LimitReachedError, Reason
from keystile.restrictions import Policy
from unit.builders import a_record, an_owner

if TYPE_CHECKING:
    from keystile.records import KeyRecord
    from unit.world import Process, World

OWNER = an_owner()


def limited(**policy: int | str) -> KeyRecord:
    return a_record(policy=Policy(**policy))  # type: ignore[arg-type]  # its fields


async def count(process: Process, record: KeyRecord, times: int = 1) -> int:
    """Count requests one after the other; return how many were allowed."""
    allowed = 0
    for _ in range(times):
        try:
            await process.metering.count(record, OWNER)
        except LimitReachedError:
            break
        allowed += 1
    return allowed


async def test_a_key_without_limits_is_not_counted(world: World) -> None:
    """Nobody is asked about it, and nothing is kept for it."""
    assert world.here.metering.meters_of(a_record(), OWNER) == ()
    assert await count(world.here, a_record(), 5) == 5
    assert world.allowances.takes == []


async def test_exactly_the_limit_is_allowed(world: World) -> None:
    """The last request of the hour is allowed, the next one is not, and says when it will be."""
    record = limited(requests_per_hour=250)
    assert await count(world.here, record, 300) == 250
    with pytest.raises(LimitReachedError) as refused:
        await world.here.metering.count(record, OWNER)
    assert (refused.value.reason, refused.value.limit) == (Reason.RATE_LIMITED, "key-hour")
    assert refused.value.retry_after == 3_600
    assert (refused.value.key_id, refused.value.owner) == (record.key_id, OWNER.username)


async def test_a_lease_grows_to_a_hundred_and_shrinks_near_the_limit(world: World) -> None:
    """A busy key asks once for up to a hundred requests; what it leases ahead is at most a tenth of what is left."""
    assert await count(world.here, limited(requests_per_day=2_000), 2_001) == 2_000
    granted = world.allowances.granted
    assert granted[:8] == [1, 2, 4, 8, 16, 32, 64, 100]
    assert max(granted) == 100
    used = 0
    for block in granted:
        assert block <= max(1, (2_000 - used) // 10)
        used += block
    assert granted[-9:] == [1] * 8 + [0]


async def test_a_slow_key_leases_one_at_a_time(world: World) -> None:
    """A lease is what a second brought before: who comes every ten seconds soon leaves nothing unused."""
    record = limited(requests_per_day=100_000)
    await count(world.here, record, 127)
    for _ in range(10):
        await world.pass_time(10)
        await count(world.here, record)
    assert world.allowances.granted[-6:] == [64, 6, 1, 1, 1, 1]


async def test_the_first_of_many_at_once_asks_for_all(world: World) -> None:
    """Fifty requests that find no lease wait for one question, or two, and all are answered."""
    record = limited(requests_per_hour=1_000)
    counted = await asyncio.gather(*(world.here.metering.count(record, OWNER) for _ in range(50)))
    assert all(counted)
    assert sum(world.allowances.granted) == 50
    assert len(world.allowances.takes) <= 2


async def test_two_processes_at_once_never_exceed_it_by_one(world: World) -> None:
    """Each is asked fifty times at once, and when both have refused, exactly the limit was allowed."""
    there = await world.start()
    record = limited(requests_per_hour=61)
    counts = [process.metering.count(record, OWNER) for process in (world.here, there) for _ in range(50)]
    answers = await asyncio.gather(*counts, return_exceptions=True)
    allowed = sum(not isinstance(answer, LimitReachedError) for answer in answers)
    assert allowed <= 61
    assert allowed + await count(world.here, record, 100) + await count(there, record, 100) == 61
    assert not [answer for answer in answers if not isinstance(answer, (bool, LimitReachedError))]


async def test_a_level_is_spent_by_all_keys_of_an_owner(world: World) -> None:
    """What one key uses the other one misses; another owner has a level of his own."""
    one, other = limited(level="user"), replace(limited(level="user"), key_id="another")
    assert await count(world.here, one, 600) == 600
    assert await count(world.here, other, 600) == 400
    await world.here.metering.count(one, replace(OWNER, id="owner-2"))


async def test_who_is_refused_by_one_limit_spends_nothing_of_the_other(world: World) -> None:
    """The key's own limit is spent: its refusals cost the owner's level nothing beyond a lease."""
    record = limited(level="user", requests_per_hour=3)
    assert await count(world.here, record, 10) == 3
    for _ in range(50):
        assert await count(world.here, record) == 0
    assert await count(world.here, limited(level="user"), 2_000) == 997


async def test_a_refusal_asks_the_store_once_a_second(world: World) -> None:
    """A flood of a key that is spent does not become one of the store."""
    record = limited(requests_per_hour=1)
    await count(world.here, record, 2)
    takes = len(world.allowances.takes)
    for _ in range(100):
        assert await count(world.here, record) == 0
    assert len(world.allowances.takes) == takes
    await world.pass_time(1)
    assert await count(world.here, record) == 0
    assert len(world.allowances.takes) == takes + 1


async def test_a_new_window_begins_at_once(world: World) -> None:
    """When the hour is over the key may be used again, and what was leased of the old one is worth nothing."""
    record, here = limited(requests_per_hour=40), world.here
    assert await count(here, record, 41) == 40
    await world.pass_time(3_600)
    assert await count(here, record, 41) == 40
    await world.pass_time(3_600)
    await count(here, record, 4)
    (meter,) = here.metering.meters_of(record, OWNER)
    assert meter.has_some(world.time.ticks())
    await world.pass_time(3_600)
    assert not here.metering.spend((meter,))
    assert await count(here, record, 41) == 40


async def test_a_spent_month_is_a_quota(world: World) -> None:
    """The reason tells a rate from a quota, and Retry-After the first moment at which all of them are new."""
    record = limited(requests_per_hour=1, requests_per_month=1)
    await world.here.metering.count(record, OWNER)
    with pytest.raises(LimitReachedError) as refused:
        await world.here.metering.count(record, OWNER)
    assert (refused.value.reason, refused.value.limit) == (Reason.QUOTA_EXCEEDED, "key-month")
    assert refused.value.retry_after == (30 * 24 + 12) * 3_600


async def test_reported_cost_ends_a_key(world: World) -> None:
    """At the last cent of the month the process that hears of it refuses at once, whatever it had leased."""
    record, metering = limited(level="user", cost_cents_per_month=50), world.here.metering
    await count(world.here, record, 20)
    await metering.charge(record, OWNER, 49)
    assert await count(world.here, record) == 1
    await metering.charge(record, OWNER, 1)
    with pytest.raises(LimitReachedError) as refused:
        await metering.count(record, OWNER)
    assert (refused.value.reason, refused.value.limit) == (Reason.QUOTA_EXCEEDED, "key-cost")
    assert await count(world.here, limited(level="user")) == 1
    await metering.charge(limited(level="user"), OWNER, 950)
    assert await count(world.here, limited(level="user")) == 0


async def test_cost_is_reported_where_it_is_limited(world: World) -> None:
    """Without a limit of cost nothing is kept; less than nothing is no cost."""
    world.allowances.down = True
    await world.here.metering.charge(limited(requests_per_hour=1), OWNER, 5)
    await world.here.metering.charge(a_record(), OWNER, 5)
    with pytest.raises(ValueError, match="nothing or more"):
        await world.here.metering.charge(limited(cost_cents_per_month=1), OWNER, -1)


@pytest.mark.parametrize("allow", [False, True])
async def test_without_the_store_a_lease_is_used_up_first(world: World, allow: bool) -> None:  # noqa: FBT001 - a parameter
    """Then requests are refused as an outage is, or let through, as the setting says; unlimited keys never notice."""
    process, record = await world.start(allow_uncounted=allow), limited(requests_per_day=1_000)
    await count(process, record, 8)
    (meter,) = process.metering.meters_of(record, OWNER)
    leased = meter.left
    assert leased > 0
    world.allowances.down = True
    assert await count(process, record, leased) == leased
    await count(process, a_record(), 5)
    if allow:
        assert await count(process, record, 500) == 500
    else:
        with pytest.raises(CannotTellError):
            await process.metering.count(record, OWNER)
    world.allowances.down = False
    assert await count(process, record, 1_000) == 1_000 - 8 - leased


async def test_what_is_told_is_what_is_known(world: World) -> None:
    """`RateLimit` counts every request of this process down, `RateLimit-Policy` says what it is counted from."""
    record = limited(requests_per_hour=10, requests_per_month=300, cost_cents_per_month=5)
    metering = world.here.metering
    meters = metering.meters_of(record, OWNER)
    assert metering.fields(meters) == ("", "")
    for used in range(1, 11):
        await metering.count(record, OWNER)
        left, policies = metering.fields(meters)
        assert policies == '"key-hour";q=10;w=3600, "key-month";q=300;w=2678400'
        assert left == f'"key-hour";r={10 - used};t=3600, "key-month";r={300 - used};t=2635200'
    world.time.passed += 59.5
    assert metering.fields(meters)[0].startswith('"key-hour";r=0;t=3541,')


async def test_a_client_that_leaves_does_not_end_the_question(world: World) -> None:
    """Who waits beside one that hangs up is answered, and what was leased is there."""
    record = limited(requests_per_hour=10)
    world.allowances.may_answer.clear()
    leaving, staying = (asyncio.create_task(world.here.metering.count(record, OWNER)) for _ in range(2))
    await world.allowances.asked.wait()
    leaving.cancel()
    world.allowances.may_answer.set()
    assert await staying
    (meter,) = world.here.metering.meters_of(record, OWNER)
    assert (meter.left, meter.waiting) == (1, 0)


async def test_a_policy_that_changes_is_counted_anew_at_once(world: World) -> None:
    """A lowered limit is held against what was used before, leases of the old one are not handed out."""
    record = limited(requests_per_hour=1_000)
    assert await count(world.here, record, 20) == 20
    assert await count(world.here, limited(requests_per_hour=10)) == 0
    assert await count(world.here, limited(requests_per_hour=50), 100) <= 30
