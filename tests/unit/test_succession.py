"""Keys of the older format are rotated into keys of the current one."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from keystile.errors import ChangeRefusedError, TooManyKeysError
from keystile.records import RevocationReason, Status
from keystile.restrictions import Policy
from unit.builders import a_record

if TYPE_CHECKING:
    from keystile.authority.alterations import RotatedKey
    from keystile.records import KeyRecord
    from unit.world import World

DAY = timedelta(days=1)
POLICY = Policy(scopes=("read",), projects=("p",))


async def older_key(world: World, **fields: Any) -> str:  # noqa: ANN401 - a record's fields
    """Let alice hold a key of the older format, and return its id."""
    record = a_record(key_id="older-1", gen=0, older_hash="ab" * 32, **{"policy": POLICY, **fields})
    owner = await world.store.adopt("alice")
    await world.store.update(owner.id, lambda current: current.with_record(record))
    return record.key_id


async def rotate(world: World, key_id: str, grace: timedelta = DAY) -> RotatedKey:
    return await world.here.alterations.rotate(key_id, grace=grace, by="test")


async def kept(world: World, key_id: str) -> KeyRecord:
    _, record = await world.here.lifecycle.show(key_id)
    return record


async def test_an_older_key_gets_a_successor_and_expires_with_the_grace(world: World) -> None:
    """The new key may do the same, under an id of its own; the older one works until the grace ends."""
    older = await older_key(world, name="build")
    rotated = await rotate(world, older)
    assert rotated.record.key_id != older
    assert (rotated.record.name, rotated.record.policy) == ("build", POLICY)
    assert (await world.verify(rotated.key)).record.key_id == rotated.record.key_id
    left = await kept(world, older)
    assert (left.status, left.expires_at) == (Status.ACTIVE, rotated.ends_at)
    assert rotated.ends_at == world.time.now().replace(microsecond=0) + DAY


async def test_without_grace_the_older_key_is_superseded_at_once(world: World) -> None:
    """A grace of nothing revokes it, and says why."""
    older = await older_key(world)
    await rotate(world, older, timedelta(0))
    left = await kept(world, older)
    assert (left.status, left.revoked_reason) == (Status.REVOKED, RevocationReason.SUPERSEDED)


async def test_what_succeeds_an_older_key_outlives_neither_it_nor_the_longest_life(world: World) -> None:
    """A successor expires when the older key would have, and so does what is left of that."""
    until = world.time.now().replace(microsecond=0) + timedelta(hours=2)
    rotated = await rotate(world, await older_key(world, expires_at=until))
    assert (rotated.record.expires_at, rotated.ends_at) == (until, until)


async def test_a_name_no_key_may_have_now_is_not_carried_on(world: World) -> None:
    """Older stores took any name, and none."""
    assert (await rotate(world, await older_key(world, name=""))).record.name == "older-1"


@pytest.mark.parametrize("grace", [DAY, timedelta(0)])
async def test_a_suspended_older_key_has_no_successor(world: World, grace: timedelta) -> None:
    """Whoever may rotate does not lift a suspension by it; nothing is changed."""
    older = await older_key(world)
    await world.here.lifecycle.suspend(older, suspended_by="test")
    with pytest.raises(ChangeRefusedError, match="suspended"):
        await rotate(world, older, grace)
    owner, records = await world.here.lifecycle.keys_of("alice")
    assert [record.key_id for record in records] == [older], owner


async def test_a_successor_needs_room(world: World) -> None:
    """An owner never holds more live keys than may be, not for the time of a grace either."""
    older = await older_key(world)
    for _ in range(world.here.lifecycle.max_keys_per_owner - 1):
        await world.issue()
    with pytest.raises(TooManyKeysError):
        await rotate(world, older)
    assert (await kept(world, older)).expires_at is None


async def test_whoever_may_not_rotate_the_older_key_issues_nothing(world: World) -> None:
    """The check that a caller brings sees the older key before anything is made."""
    older = await older_key(world)

    def refuse(_owner: Any, record: KeyRecord) -> None:  # noqa: ANN401 - whoever it is
        raise ChangeRefusedError(f"not {record.key_id}")

    with pytest.raises(ChangeRefusedError, match="not older-1"):
        await world.here.alterations.rotate(older, grace=DAY, by="test", check=refuse)
    _, records = await world.here.lifecycle.keys_of("alice")
    assert len(records) == 1
