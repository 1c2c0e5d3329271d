from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from keystile.changes import Floor
from keystile.errors import CannotTellError, KeyRefusedError, Reason
from keystile.records import RevocationReason, Status
from unit.builders import FORMAT, a_record, an_owner

if TYPE_CHECKING:
    from keystile.adapters.memory.cache import InProcessVerdictCache
    from keystile.keys import ApiKey
    from unit.world import World


async def refusal(world: World, key: ApiKey) -> Reason:
    with pytest.raises(KeyRefusedError) as refused:
        await world.verify(key)
    return refused.value.reason


def set_floor(world: World, key_id: str, *, gen: int, dead: bool) -> None:
    """Leave a floor that this process never heard of, as one that was restarted since."""
    world.log.floors[key_id] = Floor(key_id=key_id, gen=gen, dead=dead, until=4e9)


async def test_record_that_came_back_from_the_dead_is_refused_and_buried_again(world: World) -> None:
    """A console page loaded before the revoke, and saved after it, does not bring the key back."""
    issued = await world.issue()
    set_floor(world, issued.record.key_id, gen=2, dead=True)
    assert await refusal(world, issued.key) is Reason.REVOKED
    await world.settle()
    dead = await world.stored(issued)
    assert (dead.status, dead.revoked_at) == (Status.REVOKED, world.time.now())
    assert dead.gen >= 2
    assert [event.event for event in world.audit.events if event.key_id == dead.key_id][-1] == "change_undone"
    assert await refusal(world, issued.key) is Reason.REVOKED


async def test_record_below_a_living_floor_is_refused_and_left_alone(world: World) -> None:
    """An older generation of a key that lives on is refused; what it should be nobody here can say."""
    issued = await world.issue()
    set_floor(world, issued.record.key_id, gen=2, dead=False)
    assert await refusal(world, issued.key) is Reason.CHANGE_UNDONE
    await world.settle()
    assert await world.stored(issued) == issued.record


async def test_record_at_its_floor_is_accepted(world: World) -> None:
    """A floor takes away what is below it, and only that."""
    issued = await world.issue()
    set_floor(world, issued.record.key_id, gen=1, dead=False)
    assert (await world.verify(issued.key)).record == issued.record.pared()


async def test_dead_floor_refuses_any_generation(world: World) -> None:
    """However high a generation somebody writes into a record, dead is dead."""
    issued = await world.issue()
    await world.write(issued.owner.id, replace(issued.record, gen=10**6))
    set_floor(world, issued.record.key_id, gen=2, dead=True)
    assert await refusal(world, issued.key) is Reason.REVOKED


async def test_tombstone_is_told_as_such_and_not_written_again(world: World) -> None:
    """A record that is dead already needs no burial."""
    issued = await world.issue()
    await world.here.lifecycle.revoke(issued.record.key_id, reason=RevocationReason.SUPERSEDED, revoked_by="test")
    before = await world.stored(issued)
    assert await refusal(world, issued.key) is Reason.REVOKED
    await world.settle()
    assert await world.stored(issued) == before
    assert not world.directory.writes


async def test_cached_verdict_below_its_floor_is_no_verdict(world: World) -> None:
    """The floor that comes with a cached verdict is believed, the verdict is not."""
    issued = await world.issue()
    await world.verify(issued.key)
    await world.settle()
    other = await world.start()
    set_floor(world, issued.record.key_id, gen=2, dead=True)
    with pytest.raises(KeyRefusedError) as refused:
        await world.verify(issued.key, other)
    assert refused.value.reason is Reason.REVOKED


async def test_stale_verdict_below_its_floor_does_not_outlast_an_outage(world: World) -> None:
    """A key whose floor says that it is dead is refused, also while nobody can read its record."""
    issued = await world.issue()
    verdict = await world.verify(issued.key)
    await world.settle()
    forget_all(world.here.near)
    await world.far.put(issued.key, replace(verdict, read_at=verdict.read_at - 1_000))
    set_floor(world, issued.record.key_id, gen=2, dead=True)
    world.directory.down = True
    assert await refusal(world, issued.key) is Reason.REVOKED


async def test_stale_verdict_below_a_living_floor_is_not_used(world: World) -> None:
    """An older generation is no stale answer: nobody can say what the key may do now."""
    issued = await world.issue()
    verdict = await world.verify(issued.key)
    await world.settle()
    forget_all(world.here.near)
    await world.far.put(issued.key, replace(verdict, read_at=verdict.read_at - 1_000))
    set_floor(world, issued.record.key_id, gen=2, dead=False)
    world.directory.down = True
    with pytest.raises(CannotTellError):
        await world.verify(issued.key)


async def test_floor_out_of_reach_leaves_the_directory_its_word(world: World) -> None:
    """While the cache is lost, the record alone decides: floors are a second line."""
    issued = await world.issue()
    set_floor(world, issued.record.key_id, gen=2, dead=True)
    world.far.down = True
    assert await world.verify(issued.key)


async def test_floor_of_an_older_key_is_asked_for_by_its_record(world: World) -> None:
    """A key that has no id in it has its floor under the id of the record it proves."""
    key = world.here.verifier.format.parse("mcpkey_live_" + "x" * 43)
    cache_hash = world.here.prover.presented_older_name(key)
    record = a_record(key_id="older-1", gen=0, older_hash=cache_hash)
    lookup = "older-" + FORMAT._peppers.current.lookup.digest(key.reveal().encode()).hex()  # noqa: SLF001
    world.directory.planted[lookup] = (an_owner(record),)
    set_floor(world, "older-1", gen=0, dead=False)
    assert (await world.verify(key)).record.key_id == "older-1"
    set_floor(world, "older-1", gen=1, dead=True)
    forget_all(world.here.near)
    forget_all(world.far.inner)
    assert await refusal(world, key) is Reason.REVOKED


def forget_all(cache: InProcessVerdictCache) -> None:
    """Lose every verdict of a cache, as a restart does."""
    cache._entries.clear()  # noqa: SLF001 - nothing but a test wants this
