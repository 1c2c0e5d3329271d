"""What every store of the recent audit promises."""

from __future__ import annotations

import time

import pytest

from contracts.examples import PEPPERS
from keystile.adapters.redis.events import RedisRecentEvents
from keystile.adapters.sqlite.events import SqliteRecentEvents
from keystile.ports import AuditEvent, EventPage, KeptEvent, RecentEvents

KEY, OTHER = "k3v9x0q2m7ab", "k3v9x0q2m7ac"
NOW = time.time()


def unexpected(word: str) -> None:
    pytest.fail(word)


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest) -> RecentEvents:
    if request.param == "sqlite":
        return SqliteRecentEvents(request.getfixturevalue("database"))
    return RedisRecentEvents(request.getfixturevalue("link"), PEPPERS, on_tampering=unexpected)


def event(number: int, key_id: str | None = KEY, owner: str | None = "zoë") -> KeptEvent:
    return KeptEvent(
        at=NOW + number / 8,
        event=AuditEvent(
            event="key_changed",
            outcome="done",
            key_id=key_id,
            owner=owner,
            tenant="acme",
            actor="admin",
            address="192.0.2.1",
            request_id=f"r{number}",
            count=number,
            detail={"changed": ["name", "scopes"]},
        ),
    )


def numbers(page: EventPage) -> list[int | None]:
    return [kept.event.count for kept in page.events]


async def test_nothing_happened_at_first(store: RecentEvents) -> None:
    """A new store has no events, whoever is asked for."""
    for page in (await store.of_key(KEY, limit=9), await store.of_owner("zoë", limit=9), await store.latest(limit=9)):
        assert page == EventPage(())


async def test_event_is_told_as_it_was(store: RecentEvents) -> None:
    """Nothing that was audited is lost, and each event has an id of its own."""
    await store.add("b1", [event(1), event(2)])
    page = await store.of_key(KEY, limit=9)
    assert [(kept.at, kept.event) for kept in page.events] == [(each.at, each.event) for each in (event(2), event(1))]
    assert len({kept.id for kept in page.events} - {""}) == 2


async def test_events_are_found_by_key_and_by_owner(store: RecentEvents) -> None:
    """Each question has its own events, the newest first."""
    events = [event(1), event(2, OTHER), event(3, owner="eve"), event(4, None, None)]
    await store.add("b1", events)
    assert numbers(await store.of_key(KEY, limit=9)) == [3, 1]
    assert numbers(await store.of_owner("zoë", limit=9)) == [2, 1]
    assert numbers(await store.latest(limit=9)) == [4, 3, 2, 1]


async def test_pages_follow_each_other(store: RecentEvents) -> None:
    """Each page begins where the last one ended, also when something happens in between; the last one says so."""
    await store.add("b1", [event(number) for number in range(7)])
    first, everybodys = await store.of_key(KEY, limit=3), await store.latest(limit=5)
    await store.add("b2", [event(7)])
    second = await store.of_key(KEY, limit=3, before=first.next)
    third = await store.of_key(KEY, limit=3, before=second.next)
    assert [numbers(page) for page in (first, second, third)] == [[6, 5, 4], [3, 2, 1], [0]]
    assert third.next == ""
    assert numbers(await store.latest(limit=5, before=everybodys.next)) == [1, 0]


@pytest.mark.parametrize("cursor", ["x", "-", "+", "1-", "9" * 40, "1' OR 1=1", "(1-1", "\u0661"])
async def test_cursor_of_somebody_else_finds_nothing(store: RecentEvents, cursor: str) -> None:
    """What is no cursor of ours is no fault of ours either."""
    await store.add("b1", [event(1)])
    assert await store.of_key(KEY, limit=9, before=cursor) == EventPage(())
    assert await store.latest(limit=9, before=cursor) == EventPage(())


async def test_same_batch_is_kept_once(store: RecentEvents) -> None:
    """A batch sent again, because nobody knows whether it arrived, changes nothing."""
    for _ in range(2):
        await store.add("b1", [event(1)])
    assert numbers(await store.of_key(KEY, limit=9)) == [1]


async def test_a_key_keeps_its_last_thousand(store: RecentEvents) -> None:
    """However much happens to one key, its own page stays short, and another key loses nothing by it."""
    await store.add("b0", [event(5_000, OTHER)])
    for batch in range(6):
        await store.add(f"b{batch + 1}", [event(batch * 200 + number) for number in range(200)])
    found: list[int | None] = []
    before, more = "", True
    while more:
        page = await store.of_key(KEY, limit=400, before=before)
        found += numbers(page)
        before, more = page.next, bool(page.next)
    assert found == list(range(1199, 199, -1))
    assert numbers(await store.of_key(OTHER, limit=9)) == [5_000]


async def test_nothing_is_asked_for(store: RecentEvents) -> None:
    """A page of no events is empty."""
    await store.add("b1", [event(1)])
    assert await store.of_key(KEY, limit=0) == EventPage(())
