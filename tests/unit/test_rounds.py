"""Rounds through all owners, and what is told of keys that are about to end."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keystile.adapters.memory.leases import InProcessLeases
from keystile.authority.census import Census
from keystile.authority.heralding import Herald
from keystile.authority.idle import IdleExpiry
from keystile.authority.rounds import EVERY, MOST_WRITES, Rounds
from keystile.errors import CannotTellError, ChangeRefusedError
from keystile.records import RevocationReason
from keystile.restrictions import Policy
from unit.builders import DAY

if TYPE_CHECKING:
    from keystile.authority.lifecycle import IssuedKey
    from keystile.records import Owner
    from unit.world import World


class Seen:
    """Notes whom it visits; *writes* is what each visit costs, *fault* is raised instead."""

    def __init__(self, writes: int = 0, fault: Exception | None = None) -> None:
        self.owners: list[str] = []
        self.writes = writes
        self.fault = fault

    async def visit(self, owner: Owner) -> int:
        """Note it."""
        self.owners.append(owner.username)
        if self.fault is not None:
            raise self.fault
        return self.writes


@pytest.fixture
def leases(world: World) -> InProcessLeases:
    return InProcessLeases(ticks=world.time.ticks)


def rounds(world: World, leases: InProcessLeases, *visitors: Seen | Herald, census: Census | None = None) -> Rounds:
    census = census or Census(clock=world.time.now)

    async def rest(seconds: float) -> None:
        assert seconds >= 0

    return Rounds(world.directory, leases, visitors, census, ticks=world.time.ticks, sleep=rest)


def herald(world: World, leases: InProcessLeases) -> Herald:
    return Herald(
        leases=leases, idle=IdleExpiry(world.usage), auditor=world.here.verifier.auditor, clock=world.time.now
    )


async def told(world: World, leases: InProcessLeases, owner_id: str) -> list[tuple[str | None, int]]:
    """Return why and how many days ahead was told by a visit now."""
    before = len(world.audit.events)
    owner = await world.store.owner(owner_id)
    assert owner is not None
    assert await herald(world, leases).visit(owner) == 0
    return [(event.reason, event.detail["days"]) for event in world.audit.events[before:]]


async def days_pass(world: World, days: float) -> None:
    await world.pass_time(days * DAY.total_seconds())


async def test_one_process_of_all_makes_each_round(world: World, leases: InProcessLeases) -> None:
    """Disabled owners are visited too; whoever comes second, or again too early, makes none."""
    await world.issue()
    disabled = await world.issue(owner="bob")
    await world.store.set_enabled(disabled.owner.id, enabled=False)
    here, there = Seen(), Seen()
    assert await rounds(world, leases, here).make()
    assert not await rounds(world, leases, there).make()
    assert (here.owners, there.owners) == (["alice", "bob"], [])
    await world.pass_time(EVERY)
    assert await rounds(world, leases, there).make()


async def test_round_that_was_cut_off_is_made_again(world: World, leases: InProcessLeases) -> None:
    """The store was away: the next try need not wait for hours."""
    await world.issue()
    with pytest.raises(CannotTellError):
        await rounds(world, leases, Seen(fault=CannotTellError("away"))).make()
    assert await rounds(world, leases, Seen()).make()


async def test_odd_owner_does_not_stop_a_round(world: World, leases: InProcessLeases) -> None:
    """One that cannot be changed is passed over."""
    await world.issue()
    await world.issue(owner="bob")
    seen = Seen(fault=ChangeRefusedError("odd"))
    assert await rounds(world, leases, seen).make()
    assert sorted(seen.owners) == ["alice", "bob"]


async def test_writes_of_a_round_are_bounded_by_visitor(world: World, leases: InProcessLeases) -> None:
    """Who has written enough rests until the next round; others go on."""
    await world.issue()
    await world.issue(owner="bob")
    busy, other = Seen(writes=MOST_WRITES), Seen()
    assert await rounds(world, leases, busy, other).make()
    assert (len(busy.owners), len(other.owners)) == (1, 2)


async def test_each_threshold_is_told_once(world: World, leases: InProcessLeases) -> None:
    """30, 10 and 1 day ahead, once for all processes and rounds, and nothing after the end."""
    issued = await world.issue(expires_at=world.time.now() + timedelta(days=90))
    heard: list[tuple[str | None, int]] = []
    for _ in range(4 * 91):
        heard += await told(world, leases, issued.owner.id)
        await days_pass(world, 0.25)
    assert heard == [("expires", 30), ("expires", 10), ("expires", 1)]
    last = [event for event in world.audit.events if event.event == "key_expiring"][-1]
    assert (last.key_id, last.owner, last.outcome) == (issued.record.key_id, "alice", "noticed")


async def test_short_lives_are_not_announced_at_once(world: World, leases: InProcessLeases) -> None:
    """A key issued for five days was never 30 or 10 days from its end; who comes late tells of the nearest only."""
    short = await world.issue(expires_at=world.time.now() + timedelta(days=5))
    assert await told(world, leases, short.owner.id) == []
    await days_pass(world, 4.5)
    assert await told(world, leases, short.owner.id) == [("expires", 1)]
    late = await world.issue(owner="bob", expires_at=world.time.now() + timedelta(days=60))
    await days_pass(world, 55)
    assert await told(world, leases, late.owner.id) == [("expires", 10)]


async def test_another_end_is_told_anew(world: World, leases: InProcessLeases) -> None:
    """Prolonged, a key comes near its end once more."""
    issued = await world.issue(expires_at=world.time.now() + timedelta(days=40))
    await days_pass(world, 15)
    assert await told(world, leases, issued.owner.id) == [("expires", 30)]
    record = issued.record.with_policy(issued.record.policy, world.time.now() + timedelta(days=60))
    await world.write(issued.owner.id, record)
    assert await told(world, leases, issued.owner.id) == []
    await days_pass(world, 31)
    assert await told(world, leases, issued.owner.id) == [("expires", 30)]


async def test_idle_keys_are_told_of_too(world: World, leases: InProcessLeases) -> None:
    """A key that nobody uses is told of before it idles for too long; a use of it moves that on."""
    issued = await world.issue(policy=Policy(idle_days=20))
    await _use(world, issued)
    await days_pass(world, 11)
    assert await told(world, leases, issued.owner.id) == [("idle", 10)]
    await _use(world, issued)
    assert await told(world, leases, issued.owner.id) == []
    await days_pass(world, 19.5)
    assert await told(world, leases, issued.owner.id) == [("idle", 1)]


@pytest.mark.parametrize("end", ["revoke", "disable", "expire"])
async def test_nothing_is_told_of_what_is_no_key_any_more(world: World, leases: InProcessLeases, end: str) -> None:
    """The dead, and keys of disabled owners, are nobody's concern."""
    issued = await world.issue(expires_at=world.time.now() + timedelta(days=20))
    await days_pass(world, 30 if end == "expire" else 11)
    if end == "revoke":
        await world.here.lifecycle.revoke(issued.record.key_id, reason=RevocationReason.UNSPECIFIED, revoked_by="test")
    if end == "disable":
        await world.store.set_enabled(issued.owner.id, enabled=False)
    assert await told(world, leases, issued.owner.id) == []


async def _use(world: World, issued: IssuedKey) -> None:
    await world.verify(issued.key)
    for process in world.processes:
        await process.verifier.usage.flush(world.usage, all_uses=True)


async def test_live_keys_are_counted_on_the_way(world: World, leases: InProcessLeases) -> None:
    """A round tells how many keys are live, without dead ones and those of disabled owners; before it, nobody knows."""
    census = Census(clock=world.time.now)
    first = await world.issue()
    await world.issue()
    disabled = await world.issue(owner="bob")
    await world.store.set_enabled(disabled.owner.id, enabled=False)
    before = census.live
    assert await rounds(world, leases, census=census).make()
    assert (before, census.live, census.counted_at) == (None, 2, world.time.now().timestamp())
    await world.here.lifecycle.revoke(first.record.key_id, reason=RevocationReason.UNSPECIFIED, revoked_by="test")
    await world.pass_time(EVERY)
    assert await rounds(world, leases, census=census).make()
    assert census.live == 1
