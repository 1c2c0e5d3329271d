from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from keystile.changes import Change
from keystile.errors import CannotTellError, KeyRefusedError, Reason
from keystile.records import RevocationReason

if TYPE_CHECKING:
    from unit.world import World


async def revoke(world: World, key_id: str) -> None:
    await world.here.lifecycle.revoke(key_id, reason=RevocationReason.UNSPECIFIED, revoked_by="test")


async def test_fill_that_ends_after_the_revoke_is_void(world: World) -> None:
    """A look-up that read the record before it was revoked, and answers after, accepts nobody and fills nothing."""
    issued = await world.issue()
    world.directory.hold()
    looking = asyncio.create_task(world.verify(issued.key))
    await world.directory.read_done.wait()  # the old record is in hand
    await revoke(world, issued.record.key_id)
    world.directory.may_answer.set()
    with pytest.raises(KeyRefusedError) as refused:
        await looking
    assert refused.value.reason is Reason.REVOKED
    with pytest.raises(KeyRefusedError):
        await world.verify(issued.key)


async def test_fill_that_raced_with_another_process_is_void(world: World) -> None:
    """The revoke of another process voids the reading too, once it is heard here."""
    issued, other = await world.issue(), await world.start()
    world.directory.hold()
    looking = asyncio.create_task(world.verify(issued.key, other))
    await world.directory.read_done.wait()
    await revoke(world, issued.record.key_id)
    await world.pass_time(0.1)
    world.directory.may_answer.set()
    with pytest.raises(KeyRefusedError) as refused:
        await looking
    assert refused.value.reason is Reason.REVOKED


async def test_fill_that_ended_before_the_revoke_is_void_when_it_is_heard(world: World) -> None:
    """The other order: a verdict already cached, near and far, stops counting when the revoke is heard."""
    issued, other = await world.issue(), await world.start()
    await world.verify(issued.key, other)
    await world.settle()
    await revoke(world, issued.record.key_id)
    await world.pass_time(0.1)
    for process in (world.here, other, await world.start()):
        with pytest.raises(KeyRefusedError) as refused:
            await world.verify(issued.key, process)
        assert refused.value.reason is Reason.REVOKED


async def test_old_fill_put_into_the_far_cache_after_the_revoke_is_void(world: World) -> None:
    """A process that was asleep may put its old verdict into the shared cache: its position gives it away."""
    issued = await world.issue()
    await world.verify(issued.key)
    await world.settle()
    old = (await world.far.get(issued.key)).verdict
    assert old is not None
    await revoke(world, issued.record.key_id)
    await world.far.put(issued.key, old)
    late = await world.start()
    with pytest.raises(KeyRefusedError) as refused:
        await world.verify(issued.key, late)
    assert refused.value.reason is Reason.REVOKED


async def test_change_that_kills_nothing_makes_the_record_be_read_again(world: World) -> None:
    """A fill that raced with a harmless change is read once more, and then accepted."""
    issued = await world.issue()
    world.directory.hold()
    looking = asyncio.create_task(world.verify(issued.key))
    await world.directory.read_done.wait()
    await world.here.follower.announce(Change(key_id=issued.record.key_id, gen=1))
    world.directory.may_answer.set()
    assert (await looking).record.key_id == issued.record.key_id
    assert len(world.directory.finds) == 2


async def test_key_that_never_stops_changing_is_nobodys_refusal(world: World) -> None:
    """If every reading loses to another change, the answer is to try again, never a refusal."""
    issued = await world.issue()
    find = world.directory.find

    async def changing(lookup: str) -> object:
        answer = await find(lookup)
        await world.here.follower.announce(Change(key_id=issued.record.key_id))
        return answer

    world.directory.find = changing  # type: ignore[method-assign,assignment]  # a fake made worse
    with pytest.raises(CannotTellError, match="keeps changing"):
        await world.verify(issued.key)
    assert len(world.directory.finds) == 10


async def test_unknown_key_that_is_issued_meanwhile_is_not_remembered_as_unknown(world: World) -> None:
    """A negative answer that raced with the issue of its key does not stand against it."""
    issued = await world.issue()
    nobody = await world.store.update(issued.owner.id, lambda owner: type(owner)(id=owner.id, username=owner.username))
    assert not nobody.records
    await world.here.follower.announce(Change(key_id=issued.record.key_id))
    world.directory.hold()
    looking = asyncio.create_task(world.verify(issued.key))
    await world.directory.read_done.wait()
    await world.write(issued.owner.id, issued.record)
    await world.here.follower.announce(Change(key_id=issued.record.key_id, gen=1))
    world.directory.may_answer.set()
    with pytest.raises(KeyRefusedError) as refused:
        await looking
    assert refused.value.reason is Reason.UNKNOWN
    assert (await world.verify(issued.key)).record.key_id == issued.record.key_id


async def test_kills_remembered_are_said_again_to_a_new_log(world: World) -> None:
    """When the log loses everything, whoever still remembers a kill says it again, for those who start later."""
    issued = await world.issue()
    await world.verify(issued.key)
    await world.settle()
    await revoke(world, issued.record.key_id)
    await world.write(issued.owner.id, issued.record)  # a console page brings the old record back as well
    world.log.lose()
    await world.pass_time(0.1)
    assert world.here.memory.is_dead(issued.record.key_id)
    late = await world.start()
    assert late.memory.is_dead(issued.record.key_id)
    with pytest.raises(KeyRefusedError) as refused:
        await world.verify(issued.key, late)
    assert refused.value.reason is Reason.REVOKED


async def test_unheard_log_means_the_directory_is_asked_each_time(world: World) -> None:
    """While the log is silent no verdict counts, and what the directory says is not held against it."""
    issued = await world.issue()
    await world.verify(issued.key)
    world.time.passed += 1.0  # and nobody reads the log
    before = len(world.directory.finds)
    for _ in range(2):
        assert await world.verify(issued.key)
    assert len(world.directory.finds) == before + 2
