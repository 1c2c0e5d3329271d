"""An old state of the directory is put back: what ended since is ended again, and what cannot be mended is told."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keystile.authority.alterations import Wanted
from keystile.authority.reconciling import Reconciled, Reconciler
from keystile.cli.reconcile import findings
from keystile.errors import KeyRefusedError, Reason
from keystile.records import RevocationReason, Status

if TYPE_CHECKING:
    from keystile.authority.lifecycle import IssuedKey
    from keystile.records import KeyRecord, Owner
    from unit.world import World


async def backup(world: World, issued: IssuedKey) -> Owner:
    owner = await world.store.owner(issued.owner.id)
    assert owner is not None
    return owner


async def restore(world: World, kept: Owner) -> None:
    """Put an owner's records back as they were when the backup was made."""
    await world.store.update(kept.id, lambda _: kept)


async def reconcile(world: World, issued: IssuedKey) -> Reconciled:
    reconciler = Reconciler(floors=world.far, stops=world.here.lifecycle.stops, auditor=world.here.verifier.auditor)
    return await reconciler.review(await backup(world, issued))


async def stored(world: World, issued: IssuedKey) -> KeyRecord:
    record = (await backup(world, issued)).record(issued.record.key_id)
    assert record is not None
    return record


async def test_deaths_and_suspensions_come_back(world: World) -> None:
    """The key revoked and the key suspended since the backup are so again, once for all, and it is audited."""
    dead, held, untouched = await world.issue(), await world.issue(), await world.issue()
    kept = await backup(world, dead)
    stops = world.here.lifecycle.stops
    await stops.revoke(dead.record.key_id, reason=RevocationReason.UNSPECIFIED, revoked_by="x")
    await stops.suspend(held.record.key_id, suspended_by="x")
    await restore(world, kept)
    done = await reconcile(world, dead)
    assert (done.keys, set(done.restored), done.undone) == (3, {dead.record.key_id, held.record.key_id}, ())
    assert (await stored(world, dead)).status is Status.REVOKED
    assert (await stored(world, held)).status is Status.SUSPENDED
    assert (await world.verify(untouched.key)).record.key_id == untouched.record.key_id
    undone = [event for event in world.audit.events if event.event == "change_undone"]
    assert {(event.key_id, event.outcome) for event in undone} == {(key_id, "restored") for key_id in done.restored}
    again = await reconcile(world, dead)
    assert (again.restored, again.said, again.undone) == ((), (), ())


async def test_lost_changes_are_told_and_stay_refused(world: World) -> None:
    """A rotation or a narrower policy that the backup does not know cannot be written again by anybody."""
    rotated, narrowed = await world.issue(), await world.issue()
    kept = await backup(world, rotated)
    alterations = world.here.alterations
    await alterations.rotate(rotated.record.key_id, grace=timedelta(0), by="x")
    await alterations.alter(narrowed.record.key_id, Wanted(policy={"idle_days": 1}), by="x")
    await restore(world, kept)
    done = await reconcile(world, rotated)
    assert set(done.undone) == {rotated.record.key_id, narrowed.record.key_id}
    with pytest.raises(KeyRefusedError) as refused:
        await world.verify(rotated.key, await world.start())
    assert refused.value.reason is Reason.CHANGE_UNDONE
    assert [event.outcome for event in world.audit.events if event.event == "change_undone"][:2] == ["refused"] * 2


async def test_death_that_redis_forgot_is_said_again(world: World) -> None:
    """Redis was lost, not Keycloak: the record is dead, and every process hears of it."""
    dead = await world.issue()
    await world.here.lifecycle.revoke(dead.record.key_id, reason=RevocationReason.UNSPECIFIED, revoked_by="x")
    world.log.lose()
    assert (await reconcile(world, dead)).said == (dead.record.key_id,)
    assert world.log.floors[dead.record.key_id].dead


def test_what_was_not_put_right_is_a_fault() -> None:
    """The command fails, and names each key and each owner."""
    found = findings(Reconciled(3, ("a",), ("b",), ("c",)), ["dave: no"])
    assert [each.ok for each in found] == [True, True, True, False, False]
    assert "change_undone" in found[3].what
    assert "dave" in found[4].what
    assert [each.ok for each in findings(Reconciled(3), [])] == [True]
