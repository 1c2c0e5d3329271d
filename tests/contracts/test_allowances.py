"""What everything that counts limits promises."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from keystile.adapters.redis.allowances import RedisAllowances
from keystile.adapters.sqlite.allowances import SqliteAllowances
from keystile.adapters.sqlite.database import SqliteDatabase
from keystile.errors import CannotTellError
from keystile.limits import Bucket, Measure, Quota, share
from keystile.ports import Allowances

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from redis.asyncio import Redis

    from keystile.adapters.redis.link import RedisLink
    from keystile.ports import Allowance
    from stack import RedisServer

Pair = tuple[Allowances, Allowances]
HOURLY, DAILY, MONTHLY, CENTS = Measure.HOUR, Measure.DAY, Measure.MONTH, Measure.COST


def at(day: int, hour: int, minute: int = 0, *, month: int = 3) -> float:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC).timestamp()


NOW = at(10, 12, 30)


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[tuple[SqliteDatabase, SqliteDatabase]]:
    """Open one file twice, as two processes do."""
    opened = (SqliteDatabase(tmp_path / "keystile.db"), SqliteDatabase(tmp_path / "keystile.db"))
    for database in opened:
        await database.open()
    yield opened
    for database in opened:
        await database.close()


@pytest.fixture(params=["sqlite", "redis"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """Return the allowances of one deployment as two processes have them."""
    if request.param == "sqlite":
        here, there = request.getfixturevalue("files")
        return SqliteAllowances(here), SqliteAllowances(there)
    link = request.getfixturevalue("link")
    return RedisAllowances(link), RedisAllowances(link)


def bucket(*quotas: tuple[Measure, int], name: str = "key:k3v9x0q2m7ab") -> Bucket:
    return Bucket(name, "key", tuple(Quota(*quota) for quota in quotas))


async def take(allowances: Allowances, of: Bucket, needed: int = 1, ahead: int = 1, when: float = NOW) -> Allowance:
    return await allowances.take(of, needed=needed, ahead=ahead, at=when)


async def test_a_quota_is_granted_and_no_more(pair: Pair) -> None:
    """What one process takes is gone for the other; what is left is told; the last block is what is left."""
    here, there = pair
    ten = bucket((HOURLY, 10))
    first = await take(here, ten, 4)
    assert (first.granted, first.left) == (4, (6,))
    last = await take(there, ten, 9)
    assert (last.granted, last.left) == (6, (0,))
    for allowances in pair:
        none = await take(allowances, ten, 1)
        assert (none.granted, none.left) == (0, (0,))


@pytest.mark.parametrize(("needed", "ahead"), [(1, 1), (3, 100), (1, 50), (60, 7), (1, 0)])
async def test_blocks_get_small_near_the_limit(pair: Pair, needed: int, ahead: int) -> None:
    """What is not needed at once is at most a tenth of what is left, to the last request."""
    left, one = 120, bucket((HOURLY, 120))
    while left:
        taken = await take(pair[0], one, needed, ahead)
        assert taken.granted == share(left, needed, ahead)
        assert taken.granted <= max(needed, left // 10)
        left -= taken.granted
        assert taken.left == (left,)
    assert (await take(pair[0], one, needed, ahead)).granted == 0


@pytest.mark.parametrize("ahead", [1, 20])
async def test_many_at_once_never_exceed_it_by_one(pair: Pair, ahead: int) -> None:
    """Two processes that take fifty times each, all at once, get exactly the quota between them."""
    limited = bucket((HOURLY, 73), (MONTHLY, 1_000))
    taken = await asyncio.gather(*(take(allowances, limited, 1, ahead) for allowances in pair * 50))
    assert sum(each.granted for each in taken) == 73
    assert min(each.left[0] for each in taken) == 0
    assert min(each.left[1] for each in taken) == 1_000 - 73


async def test_the_tightest_quota_decides(pair: Pair) -> None:
    """A request counts in its hour, day and month, and none of them is exceeded."""
    here, _ = pair
    all_three = bucket((HOURLY, 50), (DAILY, 8), (MONTHLY, 20))
    taken = await take(here, all_three, 30, 30)
    assert (taken.granted, taken.left) == (8, (42, 0, 12))
    refused = await take(here, all_three)
    assert (refused.granted, refused.left) == (0, (42, 0, 12))


async def test_a_refusal_counts_nothing(pair: Pair) -> None:
    """Who is refused for one quota has spent nothing of the others."""
    here, _ = pair
    for _ in range(5):
        assert (await take(here, bucket((HOURLY, 0), (DAILY, 9)))).left == (0, 9)
    assert (await take(here, bucket((DAILY, 9)))).left == (8,)


async def test_windows_are_calendar_hours_days_and_months(pair: Pair) -> None:
    """Each quota begins anew with its own window, in UTC, and no other does."""
    here, _ = pair
    limits = bucket((HOURLY, 10), (DAILY, 20), (MONTHLY, 30))
    moments = [at(10, 12, 59), at(10, 13), at(10, 13, 59), at(11, 0), at(1, 0, month=4)]
    left = [(await take(here, limits, when=moment)).left for moment in moments]
    assert left == [(9, 19, 29), (9, 18, 28), (8, 17, 27), (9, 19, 26), (9, 19, 29)]


async def test_a_clock_behind_counts_in_its_own_window(pair: Pair) -> None:
    """A process whose clock is a little behind neither resets the new window nor exceeds the old one."""
    here, behind = pair
    one = bucket((HOURLY, 3))
    for moment, left in [(at(10, 12, 59), 2), (at(10, 13), 2), (at(10, 12, 59), 1), (at(10, 13), 1)]:
        assert (await take(here if moment >= at(10, 13) else behind, one, when=moment)).left == (left,)


async def test_buckets_do_not_share(pair: Pair) -> None:
    """Another name is another count."""
    here, _ = pair
    assert (await take(here, bucket((HOURLY, 1)))).granted == 1
    assert (await take(here, bucket((HOURLY, 1), name="owner:k3v9x0q2m7ab:user"))).granted == 1
    assert (await take(here, bucket((HOURLY, 1)))).granted == 0


async def test_a_changed_quota_keeps_its_count(pair: Pair) -> None:
    """A limit raised or lowered in the middle of a window is held against what was used in it."""
    here, _ = pair
    await take(here, bucket((HOURLY, 10)), 6)
    assert (await take(here, bucket((HOURLY, 4)))).left == (-2,)
    assert (await take(here, bucket((HOURLY, 20)), 20)).granted == 14


async def test_cost_that_is_spent_ends_requests(pair: Pair) -> None:
    """Reported cents count in every process; when none are left nothing is granted until the next month."""
    here, there = pair
    paid = bucket((HOURLY, 100), (CENTS, 50))
    assert await here.charge(paid, cents=30, at=NOW) == 20
    assert (await take(there, paid)).left == (99, 20)
    assert await there.charge(paid, cents=25, at=NOW) == -5
    assert await there.charge(paid, cents=0, at=NOW) == -5
    for allowances in pair:
        assert await take(allowances, paid) == await take(there, paid)
        assert (await take(allowances, paid)).left == (99, -5)
    assert (await take(here, paid, when=at(1, 0, month=4))).left == (99, 50)


async def test_charges_at_once_all_count(pair: Pair) -> None:
    """No reported cent is lost between processes."""
    paid = bucket((CENTS, 1_000))
    await asyncio.gather(*(allowances.charge(paid, cents=3, at=NOW) for allowances in pair * 20))
    assert await pair[0].charge(paid, cents=1, at=NOW) == 1_000 - 121


async def test_cost_alone_limits_no_number(pair: Pair) -> None:
    """A bucket with cents only grants what is asked while a cent is left, and counts no request."""
    here, _ = pair
    paid = bucket((CENTS, 1))
    assert (await take(here, paid, 5, 80)).granted == 80
    assert (await take(here, paid, 90, 80)) == await take(here, paid, 90, 1)
    await here.charge(paid, cents=1, at=NOW)
    assert (await take(here, paid)).granted == 0


async def test_large_numbers_are_kept_exactly(pair: Pair) -> None:
    """Fifteen digits, the most a limit may have, are counted to the last one."""
    most = 10**15 - 1
    assert (await take(pair[0], bucket((MONTHLY, most)), 3)).left == (most - 3,)
    assert await pair[1].charge(bucket((CENTS, most)), cents=10**14, at=NOW) == most - 10**14


async def test_counters_in_redis_end_by_themselves(link: RedisLink, raw: Redis) -> None:
    """Every counter has an end: its window's, and an hour; a refused one is not even made."""
    allowances = RedisAllowances(link)
    limits = bucket((HOURLY, 10), (DAILY, 20), (MONTHLY, 30), (CENTS, 40))
    await take(allowances, limits)
    await allowances.charge(limits, cents=1, at=NOW)
    await take(allowances, bucket((HOURLY, 0), name="key:refused"))
    ends = {name.decode().split(":")[4]: await raw.pttl(name) / 3_600_000 async for name in raw.scan_iter()}
    wanted = {"hour": 1.5, "day": 12.5, "month": 21 * 24 + 12.5, "cost": 21 * 24 + 12.5}
    assert ends == pytest.approx(wanted, abs=0.01)


async def test_a_value_nobody_of_us_wrote_changes_nothing(link: RedisLink, raw: Redis) -> None:
    """A counter that is no number is an answer nobody has, and the others are as they were."""
    allowances = RedisAllowances(link)
    limits = bucket((HOURLY, 10), (DAILY, 20))
    await take(allowances, limits)
    names = sorted([name async for name in raw.scan_iter()], key=lambda name: b":hour:" in name)
    for value in ("nonsense", "1e3x"):
        await raw.set(names[0], value)
        with pytest.raises(CannotTellError):
            await take(allowances, limits)
    await raw.delete(names[0])
    await raw.lpush(names[0], "a list")
    with pytest.raises(CannotTellError):
        await take(allowances, limits)
    assert await raw.get(names[1]) == b"1"


async def test_redis_out_of_reach_cannot_tell(own_redis: RedisServer, quick_link: RedisLink) -> None:
    """A Redis that does not answer grants nothing and refuses nothing, within a moment."""
    allowances = RedisAllowances(quick_link)
    own_redis.suspend()
    async with asyncio.timeout(3):
        with pytest.raises(CannotTellError):
            await take(allowances, bucket((HOURLY, 10)))
        with pytest.raises(CannotTellError):
            await allowances.charge(bucket((CENTS, 10)), cents=1, at=NOW)
    own_redis.resume()


async def test_counters_in_sqlite_are_swept(files: tuple[SqliteDatabase, SqliteDatabase]) -> None:
    """Counters of windows that ended an hour ago are thrown away as others are counted."""
    database, _ = files
    allowances = SqliteAllowances(database)
    limits = bucket((HOURLY, 10))
    for hour in range(24):
        await take(allowances, limits, when=at(10, hour))
    kept = await database.read(lambda connection: connection.execute("SELECT counter FROM allowances").fetchall())
    assert len(kept) == 3
