"""What a stolen key issued is found and ended, whoever holds it, for how many generations it may be."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from keystile.authority.incidents import Incidents
from keystile.errors import CannotTellError, KeyRefusedError
from keystile.records import KeyRecord, Owner, RevocationReason

if TYPE_CHECKING:
    from keystile.authority.lifecycle import IssuedKey
    from unit.world import World

WHY = RevocationReason.KEY_COMPROMISE


@pytest.fixture
def incidents(world: World) -> Incidents:
    return Incidents(directory=world.directory, stops=world.here.lifecycle.stops, clock=world.time.now)


async def issue_by(world: World, parent: IssuedKey | None, owner: str = "alice") -> IssuedKey:
    by = "cli:root" if parent is None else f"key:{parent.record.key_id}"
    return await world.issue(owner=owner, issued_by=by)


async def issued_ids(incidents: Incidents, *roots: IssuedKey) -> set[str]:
    return {record.key_id for _, record in await incidents.issued_by([root.record.key_id for root in roots])}


async def is_good(world: World, issued: IssuedKey) -> bool:
    try:
        await world.verify(issued.key)
    except KeyRefusedError:
        return False
    return True


async def test_every_generation_is_found(world: World, incidents: Incidents) -> None:
    """At other owners, through dead keys, at disabled owners; not what others issued, nor the key itself."""
    root = await issue_by(world, None)
    child, cousin = await issue_by(world, root, "bob"), await issue_by(world, None, "bob")
    grandchild, disabled = await issue_by(world, child, "carol"), await issue_by(world, child, "dave")
    await issue_by(world, cousin)
    await world.store.set_enabled(disabled.owner.id, enabled=False)
    await world.here.lifecycle.revoke(child.record.key_id, reason=WHY, revoked_by="test")
    assert await issued_ids(incidents, root) == {grandchild.record.key_id, disabled.record.key_id}
    assert await issued_ids(incidents, grandchild) == set()


async def test_a_circle_ends(world: World, incidents: Incidents) -> None:
    """Records that name each other, as somebody wrote them, do not keep anybody busy for ever."""
    one, other = await world.issue(), await world.issue()
    for here, there in ((one, other), (other, one)):
        await world.write(here.owner.id, _issued_by(here, there))
    assert await issued_ids(incidents, one) == {other.record.key_id}


async def test_all_of_it_is_revoked_and_nothing_else(world: World, incidents: Incidents) -> None:
    """What it issued dies, each told as one step; a second time there is nothing left to do."""
    root, other = await issue_by(world, None), await issue_by(world, None)
    family = [await issue_by(world, root, "bob"), await issue_by(world, root, "bob")]
    family.append(await issue_by(world, family[0], "carol"))
    steps: list[None] = []
    key_ids = [root.record.key_id]
    swept = await incidents.revoke_issued_by(key_ids, reason=WHY, by="cli:root", told=lambda: steps.append(None))
    assert {each.key_id for each in swept.stopped} == {issued.record.key_id for issued in family}
    assert (swept.failed, len(steps)) == ((), 3)
    assert [await is_good(world, issued) for issued in (*family, root, other)] == [False, False, False, True, True]
    assert (await incidents.revoke_issued_by(key_ids, reason=WHY, by="cli:root")).stopped == ()


async def test_what_is_issued_meanwhile_is_found_too(world: World, incidents: Incidents) -> None:
    """A key of the family that issues another one while it is looked for does not save that one."""
    root = await issue_by(world, None)
    child = await issue_by(world, root)
    late: list[IssuedKey] = []
    find = incidents.stops.holders

    async def holders(key_id: str) -> list[Owner]:
        if key_id == child.record.key_id and not late:
            late.append(await issue_by(world, child))
        return await find(key_id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(incidents.stops), "holders", lambda _, key_id: holders(key_id))
        await incidents.revoke_issued_by([root.record.key_id], reason=WHY, by="x")
    assert [await is_good(world, issued) for issued in (child, *late)] == [False, False]


async def test_one_that_cannot_be_revoked_does_not_save_the_others(world: World, incidents: Incidents) -> None:
    """It is told which one and why."""
    keys = [await world.issue(), await world.issue(), await world.issue(owner="bob")]
    gone = _issued_by(keys[0], keys[0])
    held = [(issued.owner, issued.record) for issued in keys]
    await world.store.update(keys[0].owner.id, lambda owner: _without(owner, gone.key_id))
    swept = await incidents.revoke_each(held, reason=WHY, by="x")
    assert [key_id for key_id, _ in swept.failed] == [gone.key_id]
    assert {each.key_id for each in swept.stopped} == {issued.record.key_id for issued in keys[1:]}
    assert "no key" in str(swept.to_document()["failed"])


async def test_nobody_can_tell_while_the_store_is_away(world: World, incidents: Incidents) -> None:
    """An unfinished search is no answer."""
    issued = await world.issue()
    world.directory.down = True
    with pytest.raises(CannotTellError):
        await incidents.issued_by([issued.record.key_id])


def _issued_by(issued: IssuedKey, other: IssuedKey) -> KeyRecord:
    return replace(issued.record, issued_by=f"key:{other.record.key_id}")


def _without(owner: Owner, key_id: str) -> Owner:
    return replace(owner, records=tuple(record for record in owner.records if record.key_id != key_id))
