from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from keystile.errors import CannotTellError, KeyRefusedError, Reason
from keystile.records import Status, Unreadable
from keystile.restrictions import Policy
from unit.builders import DAY, FORMAT, death_of, with_other_secret

if TYPE_CHECKING:
    from keystile.keys import ApiKey
    from keystile.records import Owner
    from unit.world import World


async def refusal(world: World, presented: ApiKey, **changes: Any) -> KeyRefusedError:  # noqa: ANN401 - fields of the context
    with pytest.raises(KeyRefusedError) as refused:
        await world.verify(presented, **changes)
    return refused.value


async def test_issued_key_is_accepted(world: World) -> None:
    """The verdict names record and owner, and holds nothing else of the owner."""
    issued = await world.issue(policy=Policy(scopes=("read",)))
    verdict = await world.verify(issued.key)
    assert (verdict.record, verdict.owner.id, verdict.owner.username) == (
        issued.record.pared(),
        issued.owner.id,
        "alice",
    )
    assert (verdict.owner.records, verdict.owner.lookups) == ((), frozenset())


async def test_known_key_is_answered_without_asking_anybody(world: World) -> None:
    """After the first look-up this process answers by itself."""
    issued = await world.issue()
    first = await world.verify(issued.key)
    gets, finds = world.far.gets, len(world.directory.finds)
    assert await world.verify(issued.key) is first
    assert (world.far.gets, len(world.directory.finds)) == (gets, finds)


async def test_key_known_elsewhere_is_answered_by_the_shared_cache(world: World) -> None:
    """Another process needs one round trip to the cache, and none to the directory."""
    issued = await world.issue()
    await world.verify(issued.key)
    await world.settle()
    other = await world.start()
    finds = len(world.directory.finds)
    assert (await world.verify(issued.key, other)).record == issued.record.pared()
    assert len(world.directory.finds) == finds
    assert other.near.peek(issued.key.name) is not None


async def test_32_callers_make_one_look_up(world: World) -> None:
    """Whoever needs the same key at the same time waits for the same query."""
    issued = await world.issue()
    world.directory.hold()
    callers = [asyncio.create_task(world.verify(issued.key)) for _ in range(32)]
    await world.directory.read_done.wait()
    world.directory.may_answer.set()
    verdicts = await asyncio.gather(*callers)
    assert len(world.directory.finds) == 1
    assert all(verdict is verdicts[0] for verdict in verdicts)


async def test_caller_who_leaves_does_not_end_the_look_up(world: World) -> None:
    """A client that hangs up takes nobody else with it."""
    issued = await world.issue()
    world.directory.hold()
    leaving, staying = (asyncio.create_task(world.verify(issued.key)) for _ in range(2))
    await world.directory.read_done.wait()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    world.directory.may_answer.set()
    assert (await staying).record == issued.record.pared()
    assert len(world.directory.finds) == 1


async def test_unknown_key_is_remembered_for_a_minute(world: World) -> None:
    """A key nobody holds costs one query a minute, however often it comes."""
    stranger = FORMAT.generate("live")
    for _ in range(3):
        assert (await refusal(world, stranger)).reason is Reason.UNKNOWN
    assert len(world.directory.finds) == 1
    await world.pass_time(60.0)
    assert (await refusal(world, stranger)).reason is Reason.UNKNOWN
    assert len(world.directory.finds) == 2


async def test_wrong_secret_is_refused_and_remembered(world: World) -> None:
    """A stamped key with a known id and another secret is refused without a bcrypt, and asked for once."""
    issued = await world.issue()
    wrong = with_other_secret(issued.key)
    assert wrong.key_id == issued.key.key_id
    for _ in range(2):
        told = await refusal(world, wrong)
        assert (told.reason, told.key_id) == (Reason.WRONG_SECRET, issued.key.key_id)
    assert len(world.directory.finds) == 1
    assert (await world.verify(issued.key)).record == issued.record.pared()


async def test_secret_is_proved_before_anything_is_told(world: World) -> None:
    """Whoever lacks the secret of a suspended, expired and disabled key only hears that the secret is wrong."""
    issued = await world.issue()
    now = world.time.now()
    await world.write(issued.owner.id, replace(issued.record, status=Status.SUSPENDED, expires_at=now))
    await world.store.set_enabled(issued.owner.id, enabled=False)
    assert (await refusal(world, with_other_secret(issued.key))).reason is Reason.WRONG_SECRET
    assert (await refusal(world, issued.key)).reason is Reason.SUSPENDED


async def test_verdict_is_judged_at_each_use(world: World) -> None:
    """A cached verdict does not outlive its key: expiry and the request are looked at every time."""
    issued = await world.issue(expires_at=world.time.now() + DAY / 24 / 60)
    await world.verify(issued.key)
    assert (await refusal(world, issued.key, client_id="somebody")).reason is Reason.ID_MISMATCH
    assert (await refusal(world, issued.key, scopes=("read",))).reason is Reason.SCOPE_DENIED
    await world.pass_time(60.0)
    assert (await refusal(world, issued.key)).reason is Reason.EXPIRED
    assert len(world.directory.finds) == 1


async def test_verdict_is_read_again_when_its_freshness_ends(world: World) -> None:
    """After a quarter of an hour the record is read anew, and what changed unseen is seen."""
    issued = await world.issue()
    await world.verify(issued.key)
    await world.store.set_enabled(issued.owner.id, enabled=False)
    await world.pass_time(899.0)
    assert await world.verify(issued.key)
    await world.pass_time(1.0)
    assert (await refusal(world, issued.key)).reason is Reason.OWNER_DISABLED


async def test_verdict_from_the_future_does_not_count(world: World) -> None:
    """A cached verdict that claims to have been read later than now would live too long."""
    issued = await world.issue()
    verdict = await world.verify(issued.key)
    await world.here.near.put(issued.key, replace(verdict, read_at=verdict.read_at + 3600))
    await world.settle()
    await world.far.put(issued.key, replace(verdict, read_at=verdict.read_at + 3600))
    await world.verify(issued.key)
    assert len(world.directory.finds) == 2


async def test_key_id_found_at_two_owners_is_refused_at_both(world: World) -> None:
    """Somebody copied a record: neither owner is believed."""
    issued = await world.issue()
    thief = await world.store.adopt("mallory")
    await world.write(thief.id, issued.record)
    assert (await refusal(world, issued.key)).reason is Reason.DUPLICATE


async def test_unreadable_record_is_refused_not_unknown(world: World) -> None:
    """A record of a later version refuses its key, says so in the audit log, and is kept as it is."""
    issued = await world.issue()
    text = issued.record.to_text().replace('"v":1', '"v":2')

    def change(owner: Owner) -> Owner:
        return replace(owner, records=(), unreadable=(Unreadable(text, issued.record.key_id),))

    await world.store.update(issued.owner.id, change)
    assert (await refusal(world, issued.key)).reason is Reason.UNREADABLE
    stored = await world.store.owner(issued.owner.id)
    assert stored is not None
    assert [kept.text for kept in stored.unreadable] == [text]


async def test_record_with_half_a_character_is_a_refusal(world: World) -> None:
    """A damaged digest ends in a refusal, never in an error of ours."""
    issued = await world.issue()
    await world.write(issued.owner.id, replace(issued.record, digest="\u00e9" * 43))
    assert (await refusal(world, issued.key)).reason is Reason.WRONG_SECRET


async def test_directory_out_of_reach_is_never_a_refusal(world: World) -> None:
    """A key nobody can look up is neither refused nor counted as a failure."""
    issued = await world.issue()
    world.directory.down = True
    for _ in range(10):
        with pytest.raises(CannotTellError):
            await world.verify(issued.key)
    world.directory.down = False
    assert await world.verify(issued.key)
    assert world.reasons() == []


async def test_stale_verdict_answers_while_the_directory_is_down(world: World) -> None:
    """A known key goes on working through an outage, for the stale time and no longer."""
    issued = await world.issue()
    await world.verify(issued.key)
    world.directory.down = True
    await world.pass_time(1_799.0)
    assert await world.verify(issued.key)
    await world.pass_time(1.0)
    with pytest.raises(CannotTellError):
        await world.verify(issued.key)


async def test_stale_verdict_of_the_shared_cache_answers_too(world: World) -> None:
    """A process that never saw the key uses what another left in the cache."""
    issued = await world.issue()
    await world.verify(issued.key)
    await world.settle()
    other = await world.start()
    world.directory.down = True
    await world.pass_time(1_200.0)
    assert (await world.verify(issued.key, other)).record == issued.record.pared()


async def test_revoked_key_is_not_saved_by_an_outage(world: World) -> None:
    """Stale use never goes against what the log said: dead is dead, also while nobody can read the record."""
    issued = await world.issue()
    await world.verify(issued.key)
    await world.log.append(death_of(issued.record.key_id))
    world.directory.down = True
    await world.pass_time(1_000.0)
    assert (await refusal(world, issued.key)).reason is Reason.REVOKED


async def test_cache_out_of_reach_does_not_stop_verification(world: World) -> None:
    """Without the shared cache the directory answers."""
    issued = await world.issue()
    world.far.down = True
    assert (await world.verify(issued.key)).record == issued.record.pared()
    stranger = FORMAT.generate("live")
    assert (await refusal(world, stranger)).reason is Reason.UNKNOWN
