from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keystile.adapters.sqlite.database import SqliteDatabase
from keystile.adapters.sqlite.events import SqliteRecentEvents
from keystile.authority.recent import RecentAudit
from keystile.errors import CannotTellError
from keystile.ports import AuditEvent
from unit.builders import NOW
from unit.watched import KeptAudit, Time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from keystile.ports import EventPage, KeptEvent

ISSUED = AuditEvent(event="key_issued", outcome="done", key_id="k", owner="alice", actor="cli:root")
REFUSED = AuditEvent(event="exchange", outcome="refused", key_id="k", reason="expired", address="192.0.2.1")


class Breakable(SqliteRecentEvents):
    """A store that can be away."""

    down = False
    silent = False

    async def add(self, batch_id: str, events: Sequence[KeptEvent]) -> None:
        """Keep them, if it may."""
        if self.down:
            raise CannotTellError("the store is down")
        await super().add(batch_id, events)
        if self.silent:
            raise CannotTellError("the store took too long")


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def log() -> KeptAudit:
    return KeptAudit()


@pytest.fixture
def audit(log: KeptAudit, time: Time) -> RecentAudit:
    return RecentAudit(log, clock=time.now, ticks=time.ticks, most_waiting=5)


@pytest.fixture
async def store(tmp_path: Path, time: Time) -> AsyncIterator[Breakable]:
    database = SqliteDatabase(tmp_path / "keystile.db")
    await database.open()
    yield Breakable(database, wall=lambda: time.now().timestamp())
    await database.close()


async def kept(store: Breakable) -> list[AuditEvent]:
    page: EventPage = await store.latest(limit=100)
    return [each.event for each in reversed(page.events)]


async def test_everything_goes_to_the_log(audit: RecentAudit, log: KeptAudit) -> None:
    """What is audited is in the log at once, whatever else becomes of it."""
    accepted = AuditEvent(event="exchange", outcome="accepted", key_id="k")
    for event in (ISSUED, REFUSED, accepted):
        audit.record(event)
    assert log.events == [ISSUED, REFUSED, accepted]


async def test_changes_and_refusals_can_be_asked_for(audit: RecentAudit, store: Breakable) -> None:
    """What names a key, and what management does, is kept with its moment; successes and floods are not."""
    setup = AuditEvent(event="admin_key_used", outcome="done", actor="admin")
    for event in (
        ISSUED,
        AuditEvent(event="exchange", outcome="accepted", key_id="k"),
        AuditEvent(event="exchange", outcome="refused", reason="forged", count=3),
        AuditEvent(event="alert", outcome="noticed", reason="the canary is not found"),
        REFUSED,
        setup,
    ):
        audit.record(event)
    await audit.flush(store)
    assert await kept(store) == [ISSUED, REFUSED, setup]
    assert (await store.of_key("k", limit=1)).events[0].at == NOW.timestamp()


async def test_same_refusal_is_kept_once_a_minute(audit: RecentAudit, store: Breakable, time: Time) -> None:
    """Who presents a dead key all day does not wash away what else happened to it."""
    for second in range(120):
        time.passed = float(second)
        audit.record(REFUSED)
        await audit.flush(store)
    assert await kept(store) == [REFUSED] * 2


async def test_store_away_keeps_events_waiting(audit: RecentAudit, store: Breakable) -> None:
    """While the store is away nothing is raised, and nothing is lost."""
    store.down = True
    audit.record(ISSUED)
    await audit.flush(store)
    audit.record(REFUSED)
    await audit.flush(store)
    store.down = False
    await audit.flush(store)
    assert await kept(store) == [ISSUED, REFUSED]


async def test_no_name_stops_the_others(audit: RecentAudit, store: Breakable) -> None:
    """An owner that is no text, as a command line may give it, is kept as well as it can be, and others after it."""
    audit.record(AuditEvent(event="key_issued", outcome="done", key_id="k", owner="zo\udcff"))
    audit.record(ISSUED)
    await audit.flush(store)
    assert [event.owner for event in await kept(store)] == ["zo?", "alice"]


async def test_batch_of_unknown_outcome_is_kept_once(audit: RecentAudit, store: Breakable) -> None:
    """A store that keeps events and says it did not is told the same batch again."""
    store.silent = True
    audit.record(ISSUED)
    await audit.flush(store)
    store.silent = False
    await audit.flush(store)
    assert await kept(store) == [ISSUED]


async def test_too_many_are_lost_counted_and_said(audit: RecentAudit, store: Breakable, log: KeptAudit) -> None:
    """A queue that is full loses the newest, says so once, and how many when it goes on; the log has them all."""
    store.down = True
    for number in range(9):
        audit.record(AuditEvent(event="key_issued", outcome="done", key_id=f"k{number}"))
    await audit.flush(store)
    store.down = False
    await audit.flush(store)
    assert [event.key_id for event in await kept(store)] == ["k0", "k1", "k2", "k3", "k4"]
    assert audit.lost == 4
    alerts = [(event.reason, event.count) for event in log.events if event.event == "alert"]
    assert [count for _, count in alerts] == [1, 4]
    assert len([event for event in log.events if event.event == "key_issued"]) == 9
