"""A key that was judged a moment ago is not judged again, and whatever could change the judgement ends that."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from keystile.changes import Change
from keystile.errors import KeyRefusedError, Reason
from keystile.records import RevocationReason
from unit.builders import NOW, death_of

if TYPE_CHECKING:
    from keystile.authority.lifecycle import IssuedKey
    from unit.world import World


def stands(world: World, issued: IssuedKey) -> bool:
    return world.here.verifier.standing(issued.key.name) is not None


async def known(world: World, **request: Any) -> IssuedKey:  # noqa: ANN401 - fields of the request
    """Return a key that was just verified, and stands."""
    issued = await world.issue(**request)
    await world.here.follower.read()
    await world.verify(issued.key)
    await world.verify(issued.key)
    assert stands(world, issued)
    return issued


async def test_key_stands_after_it_was_verified(world: World) -> None:
    """A verified key stands, one that was only issued does not."""
    issued = await world.issue()
    assert not stands(world, issued)
    await world.verify(issued.key)
    assert stands(world, issued)


async def test_revoked_key_stands_no_more(world: World) -> None:
    """A revoke made here is obeyed by the very next request."""
    issued = await known(world)
    await world.here.lifecycle.revoke(issued.record.key_id, reason=RevocationReason.UNSPECIFIED, revoked_by="test")
    assert not stands(world, issued)
    with pytest.raises(KeyRefusedError):
        await world.verify(issued.key)


@pytest.mark.parametrize("names", ["key", "owner"])
async def test_whatever_the_log_names_is_judged_again(world: World, names: str) -> None:
    """A change of the key or of its owner, heard from another process, ends what was judged before."""
    issued = await known(world)
    change = Change(key_id=issued.record.key_id) if names == "key" else Change(owner_id=issued.owner.id)
    await world.log.append(change)
    await world.here.follower.read()
    finds = len(world.directory.finds)
    assert not stands(world, issued)
    await world.verify(issued.key)
    assert len(world.directory.finds) == finds + 1


async def test_a_change_of_somebody_else_costs_no_look_up(world: World) -> None:
    """After a foreign change the key is judged again, from what is known."""
    issued = await known(world)
    await world.log.append(death_of("somebodyelse"))
    await world.here.follower.read()
    finds = len(world.directory.finds)
    assert not stands(world, issued)
    await world.verify(issued.key)
    assert stands(world, issued)
    assert len(world.directory.finds) == finds


async def test_nothing_stands_while_the_log_is_silent(world: World) -> None:
    """A log unheard for 0.7 s could have said anything."""
    issued = await known(world)
    world.time.passed += 0.71
    assert not stands(world, issued)


async def test_no_key_stands_beyond_its_expiry(world: World) -> None:
    """The moment a key expires it is refused, however lately it was judged."""
    issued = await known(world, expires_at=NOW + timedelta(seconds=30))
    await world.pass_time(29.9)
    await world.verify(issued.key)
    assert stands(world, issued)
    world.time.passed += 0.1
    assert not stands(world, issued)
    with pytest.raises(KeyRefusedError) as refused:
        await world.verify(issued.key)
    assert refused.value.reason is Reason.EXPIRED


async def test_a_kill_to_come_ends_it_when_it_comes(world: World) -> None:
    """A kill may name a moment ahead, as the end of a rotation's grace: until then the key stands, and no longer."""
    issued = await world.issue()
    kill = replace(death_of(issued.record.key_id), dead=False, floor_until=0.0, kills_from=NOW.timestamp() + 20)
    await world.log.append(kill)
    await world.here.follower.read()
    await world.verify(issued.key)
    assert stands(world, issued)
    await world.pass_time(20)
    assert not stands(world, issued)


async def test_a_success_is_audited_once_a_minute(world: World) -> None:
    """A key used all the time leaves a line a minute, and every use is counted."""
    issued = await known(world)
    for _ in range(5):
        await world.verify(issued.key)
    lines = [event for event in world.audit.events if event.outcome == "accepted"]
    assert len(lines) == 1
    assert world.here.verifier.auditor.counts.accepted == 7
    await world.pass_time(60)
    await world.verify(issued.key)
    assert len([event for event in world.audit.events if event.outcome == "accepted"]) == 2


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"client_id": "somebodyelse"}, Reason.ID_MISMATCH),
        ({"audience": "https://other.example.com"}, Reason.AUDIENCE_DENIED),
        ({"scopes": ("admin",)}, Reason.SCOPE_DENIED),
    ],
)
async def test_a_key_that_stands_is_asked_what_the_request_asks(
    world: World, asked: dict[str, Any], reason: Reason
) -> None:
    """What depends on the request is decided for each request."""
    issued = await known(world)
    with pytest.raises(KeyRefusedError) as refused:
        await world.verify(issued.key, **asked)
    assert refused.value.reason is reason


async def test_while_the_directory_is_away_it_is_asked_once_a_second(world: World) -> None:
    """A stale verdict stands for a second, so that an outage does not make every request of a known key a look-up."""
    issued = await known(world)
    await world.pass_time(1_000)
    world.directory.down = True
    finds = len(world.directory.finds)
    for _ in range(5):
        await world.verify(issued.key)
    assert len(world.directory.finds) == finds + 1
    await world.pass_time(1)
    await world.verify(issued.key)
    assert len(world.directory.finds) == finds + 2


async def test_a_stale_verdict_of_another_process_is_kept_too(world: World) -> None:
    """What the shared cache knows is asked for once, while the directory is away."""
    issued = await world.issue()
    await world.verify(issued.key)
    await world.settle()
    other = await world.start()
    await world.pass_time(1_000)
    world.directory.down = True
    await world.verify(issued.key, other)
    gets = world.far.gets
    await world.verify(issued.key, other)
    assert world.far.gets == gets
