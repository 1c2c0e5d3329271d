"""What every store of the use of keys promises."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from contracts.examples import PEPPERS
from keystile.adapters.redis.usage import RedisUsageStore
from keystile.adapters.sqlite.usage import SqliteUsageStore
from keystile.ports import UsageBatch, UsageStore
from keystile.usage import MOST, OTHERS, DayCounts, LastUse, LastUses, Totals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keystile.adapters.redis.link import RedisLink

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TODAY, YESTERDAY = NOW.date(), NOW.date() - timedelta(days=1)
KEY, OTHER = "k3v9x0q2m7ab", "k3v9x0q2m7ac"
AT = NOW.timestamp()


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest) -> UsageStore:
    if request.param == "sqlite":
        return SqliteUsageStore(request.getfixturevalue("database"), wall=lambda: AT)
    link: RedisLink = request.getfixturevalue("link")
    return RedisUsageStore(link, PEPPERS, wall=lambda: AT)


def counted(key_id: str = KEY, day: date = TODAY, *, more: Mapping[str, int] | None = None, **counts: int) -> DayCounts:
    return DayCounts(key_id, day, {**counts, **(more or {})})


async def add(store: UsageStore, *counts: DayCounts, uses: tuple[LastUse, ...] = (), name: str = "b1") -> None:
    await store.add(UsageBatch(id=name, counts=counts, uses=uses))


async def test_nothing_is_known_at_first(store: UsageStore) -> None:
    """A new store has no counts and no uses, and begins now."""
    assert await store.days(KEY, [TODAY, YESTERDAY]) == ()
    assert await store.days(KEY, []) == ()
    assert await store.last_uses(KEY) == LastUses(since=AT)


async def test_counts_add_up_by_key_and_day(store: UsageStore) -> None:
    """What several batches count of a key and day is one sum; another key or day is another."""
    await add(store, counted(requests=2, bytes=10), counted(OTHER, requests=5), counted(day=YESTERDAY, requests=7))
    await add(store, counted(requests=3, more={"refused:expired": 4}), name="b2")
    assert await store.days(KEY, [YESTERDAY, TODAY]) == (
        counted(day=YESTERDAY, requests=7),
        counted(requests=5, bytes=10, more={"refused:expired": 4}),
    )
    assert await store.days(OTHER, [TODAY]) == (counted(OTHER, requests=5),)


async def test_same_batch_counts_once(store: UsageStore) -> None:
    """A batch sent again, because nobody knows whether it arrived, changes nothing."""
    for _ in range(2):
        await add(store, counted(requests=2))
    assert await store.days(KEY, [TODAY]) == (counted(requests=2),)


async def test_sums_stop_at_the_largest_number(store: UsageStore) -> None:
    """Numbers as large as may be reported add up to the largest, and harm no other."""
    for name in ("b1", "b2"):
        await add(store, counted(cost_cents=MOST, tokens=1, more={"endpoint:/a": MOST}), name=name)
    assert await store.days(KEY, [TODAY]) == (counted(cost_cents=MOST, tokens=2, more={"endpoint:/a": MOST}),)


async def test_most_used_endpoints_are_kept(store: UsageStore) -> None:
    """However many endpoints there are, some are kept, the most used among them, and all are counted."""
    for batch in range(5):
        rare = {f"endpoint:/rare/{batch}/{number}": 1 for number in range(30)}
        await add(store, counted(more={**rare, "endpoint:/often": 9}), name=f"b{batch}")
    (row,) = await store.days(KEY, [TODAY])
    assert len(row.counts) <= 42
    assert row.counts["endpoint:/often"] == 45
    assert sum(row.counts.values()) == 5 * 39
    told = Totals.of([row.counts])
    assert len(told.endpoints) == 10
    assert next(iter(told.endpoints)) == "/often"
    assert sum(told.endpoints.values()) + told.other_endpoints == 5 * 39


async def test_other_endpoints_add_up(store: UsageStore) -> None:
    """What was too much to tell apart before it came here is one number."""
    for name in ("b1", "b2"):
        await add(store, counted(more={OTHERS: 3, "endpoint:/a": 1}), name=name)
    assert await store.days(KEY, [TODAY]) == (counted(more={OTHERS: 6, "endpoint:/a": 2}),)


async def test_last_use_is_kept_for_both_secrets(store: UsageStore) -> None:
    """Who used the current secret and who an earlier one is told apart; other keys are other keys."""
    current = LastUse(key_id=KEY, at=AT, address="192.0.2.1", user_agent="curl/8 ☃")
    earlier = LastUse(key_id=KEY, at=AT - 60, address="2001:db8::1", secret_ends_at=AT + 3600)
    await add(store, uses=(current, earlier))
    assert await store.last_uses(KEY) == LastUses(current, earlier, AT)
    assert await store.last_uses(OTHER) == LastUses(since=AT)


async def test_older_use_replaces_no_newer_one(store: UsageStore) -> None:
    """A process that could not tell for a while does not turn time back."""
    newer = LastUse(key_id=KEY, at=AT, address="192.0.2.1")
    await add(store, uses=(newer,))
    await add(store, uses=(LastUse(key_id=KEY, at=AT - 600, address="192.0.2.2"),), name="b2")
    assert (await store.last_uses(KEY)).current == newer
    newest = LastUse(key_id=KEY, at=AT + 5)
    await add(store, uses=(newest,), name="b3")
    assert (await store.last_uses(KEY)).current == newest


async def test_store_remembers_since_when(request: pytest.FixtureRequest, store: UsageStore) -> None:
    """Of a key never used it is known for how long nobody could have missed its use."""
    await add(store)
    if isinstance(store, SqliteUsageStore):
        later: UsageStore = SqliteUsageStore(request.getfixturevalue("database"), wall=lambda: AT + 1000)
    else:
        later = RedisUsageStore(request.getfixturevalue("link"), PEPPERS, wall=lambda: AT + 1000)
    await add(later, name="b2")
    assert (await later.last_uses(KEY)).since == AT


async def test_many_keys_go_in_one_batch(store: UsageStore) -> None:
    """A batch of as many keys as are told at once arrives whole."""
    keys = [f"key{number:09}" for number in range(200)]
    uses = tuple(LastUse(key_id=key, at=AT, address="192.0.2.1") for key in keys)
    await add(store, *(counted(key, requests=1, more={"endpoint:/a": 1}) for key in keys), uses=uses)
    assert await store.days(keys[-1], [TODAY]) == (counted(keys[-1], requests=1, more={"endpoint:/a": 1}),)
    assert (await store.last_uses(keys[0])).current == uses[0]
