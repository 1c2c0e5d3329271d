"""A death is accepted where it can be kept, obeyed at once, and finished when what was away answers again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, cast

import pytest

from keystile.errors import CannotTellError, ChangeRefusedError, KeyRefusedError, Reason
from keystile.records import RevocationReason, Status

if TYPE_CHECKING:
    from keystile.authority.lifecycle import IssuedKey
    from keystile.authority.stops import StoppedKey, Stops
    from keystile.ports import Directory
    from unit.world import World


async def away(*_: object, **__: object) -> NoReturn:
    raise CannotTellError("away")


def stops_of(world: World, *, log: bool = True, directory: bool = True) -> Stops:
    """Return the place where keys die, as an operator on the same machine has it, with some of it out of reach."""
    gone: dict[str, Any] = {}
    if not log:
        gone["follower"] = _Mute()
    if not directory:
        gone["directory"] = _Away()
    return replace(world.here.lifecycle.stops, **gone)


class _Mute:
    announce = staticmethod(away)


class _Away:
    find = owner = owners = update = staticmethod(away)


async def revoke(stops: Stops, issued: IssuedKey) -> StoppedKey:
    return await stops.revoke(issued.record.key_id, reason=RevocationReason.KEY_COMPROMISE, revoked_by="test")


async def status(world: World, issued: IssuedKey) -> Status:
    owner = await world.store.owner(issued.owner.id)
    assert owner is not None
    record = owner.record(issued.record.key_id)
    assert record is not None
    return record.status


async def test_with_everything_away_the_journal_takes_the_death(world: World) -> None:
    """Neither log nor directory: the death is kept, obeyed on this machine, and finished by a server here."""
    issued = await world.issue()
    await world.verify(issued.key)
    revoked = await revoke(stops_of(world, log=False, directory=False), issued)
    assert revoked.held is None
    await world.here.lifecycle.stops.obey_journal(world.here.memory)
    with pytest.raises(KeyRefusedError):
        await world.verify(issued.key)
    assert await status(world, issued) is Status.ACTIVE
    await world.here.lifecycle.stops.finish_journal()
    assert await status(world, issued) is Status.REVOKED
    assert await world.journal.entries() == ()
    assert world.log.floors[issued.record.key_id].dead


async def test_with_the_directory_away_log_and_journal_take_it(world: World) -> None:
    """A pending death stands in both: whichever is lost, the other finishes it."""
    issued = await world.issue()
    revoked = await revoke(stops_of(world, directory=False), issued)
    assert revoked.held is None
    (kept,) = await world.journal.entries()
    assert (kept.key_id, kept.pending, kept.dead) == (issued.record.key_id, True, True)
    assert world.log.floors[issued.record.key_id].dead


async def test_with_the_log_away_it_is_written_and_said_later(world: World) -> None:
    """The record is revoked at once; the journal remembers that the log was not told."""
    issued = await world.issue()
    revoked = await revoke(stops_of(world, log=False), issued)
    assert revoked.held is not None
    assert await status(world, issued) is Status.REVOKED
    (kept,) = await world.journal.entries()
    assert not kept.pending
    await world.here.lifecycle.stops.finish_journal()
    assert world.log.floors[issued.record.key_id].dead
    assert await world.journal.entries() == ()


async def test_a_death_nobody_keeps_is_not_accepted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Log, directory and disk gone: the operator is told to try again."""
    issued = await world.issue()
    monkeypatch.setattr(world.journal, "add", away)
    with pytest.raises(CannotTellError):
        await revoke(stops_of(world, log=False, directory=False), issued)


async def test_a_full_disk_does_not_stop_what_the_log_took(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the two is enough; the other's failure is an alert."""
    issued = await world.issue()
    monkeypatch.setattr(world.journal, "add", away)
    assert (await revoke(stops_of(world, directory=False), issued)).held is None
    assert [event.event for event in world.audit.events][-2:] == ["alert", "key_revoked"]


async def test_nothing_is_finished_while_something_is_away(world: World) -> None:
    """What cannot be written or said stays in the journal, however often it is tried."""
    issued = await world.issue()
    await revoke(stops_of(world, log=False, directory=False), issued)
    for gone in (stops_of(world, directory=False), stops_of(world, log=False)):
        with pytest.raises(CannotTellError):
            await gone.finish_journal()
        assert len(await world.journal.entries()) == 1
    assert await status(world, issued) is Status.REVOKED


async def test_a_key_nobody_has_leaves_the_journal_too(world: World) -> None:
    """A slip of the pen made during an outage does not stay for ever."""
    await stops_of(world, log=False, directory=False).revoke(
        "aaaaaaaaaaaa", reason=RevocationReason.UNSPECIFIED, revoked_by="test"
    )
    await world.here.lifecycle.stops.finish_journal()
    assert await world.journal.entries() == ()
    assert [event.outcome for event in world.audit.events] == ["pending", "no_such_key"]


async def test_a_death_in_the_journal_refuses_what_only_stale_trust_would_accept(world: World) -> None:
    """With the directory away a known key is answered for a while, but not one that was revoked here."""
    issued = await world.issue()
    await world.verify(issued.key)
    await revoke(stops_of(world, log=False, directory=False), issued)
    await world.here.lifecycle.stops.obey_journal(world.here.memory)
    world.directory.down = True
    with pytest.raises(KeyRefusedError) as refused:
        await world.verify(issued.key)
    assert refused.value.reason is Reason.REVOKED


async def three_kept(world: World) -> list[IssuedKey]:
    """Return three keys whose deaths the journal alone keeps."""
    issued = [await world.issue() for _ in range(3)]
    for each in issued:
        await revoke(stops_of(world, log=False, directory=False), each)
    return issued


async def test_with_the_directory_back_alone_every_death_is_written(world: World) -> None:
    """The log is still away: all records die, none waits for another, and all are still to be said."""
    issued = await three_kept(world)
    with pytest.raises(CannotTellError):
        await stops_of(world, log=False).finish_journal()
    assert [await status(world, each) for each in issued] == [Status.REVOKED] * 3
    assert len(await world.journal.entries()) == 3


async def test_with_the_log_back_alone_every_death_is_said(world: World) -> None:
    """The directory is still away: every process that hears the log refuses all of them, and each is said once."""
    issued = await three_kept(world)
    here = stops_of(world, directory=False)
    for _ in range(3):
        with pytest.raises(CannotTellError):
            await here.finish_journal()
    assert all(world.log.floors[each.record.key_id].dead for each in issued)
    said = [change for change in (await world.log.read(None)).changes if change.dead]
    assert len(said) == 3


async def test_a_death_the_directory_will_not_take_is_kept(world: World) -> None:
    """Undeclared attributes can be declared: the death is said, told of once, and tried again."""
    issued = await world.issue()
    await revoke(stops_of(world, log=False, directory=False), issued)
    here = replace(world.here.lifecycle.stops, directory=cast("Directory", _Refusing(world)))
    for _ in range(3):
        await here.finish_journal()
    assert len(await world.journal.entries()) == 1
    assert [event.event for event in world.audit.events].count("alert") == 1
    await world.here.lifecycle.stops.finish_journal()
    assert await status(world, issued) is Status.REVOKED


class _Refusing:
    def __init__(self, world: World) -> None:
        self.find, self.owners = world.store.find, world.store.owners

    async def update(self, *_: object, **__: object) -> NoReturn:
        raise ChangeRefusedError("the attributes are not declared")


async def test_a_second_revoke_is_answered_although_the_log_is_away(world: World) -> None:
    """Whoever tries again after a crash gets his answer, and the journal what the log must hear."""
    issued = await world.issue()
    await revoke(stops_of(world), issued)
    revoked = await revoke(stops_of(world, log=False), issued)
    assert revoked.held is not None
    assert len(await world.journal.entries()) == 1
