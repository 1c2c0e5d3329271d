from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from keystile.authority.alterations import RotatedKey, Wanted
from keystile.changes import Change
from keystile.errors import (
    CannotTellError,
    ChangeRefusedError,
    KeyRefusedError,
    KeyUnknownError,
    Reason,
    RecordTooLargeError,
)
from keystile.records import MAX_TEXT, REVOKE_RESERVE, KeyRecord, RevocationReason, Status
from keystile.restrictions import Policy
from unit.builders import asked

if TYPE_CHECKING:
    from keystile.authority.lifecycle import IssuedKey
    from unit.world import World

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def real_clock(world: World) -> None:
    """Begin now: PyJWT looks at the machine's own clock."""
    world.time.passed = float(int(time.time() - world.time.now().timestamp()))


async def refusal(world: World, key: Any) -> Reason:  # noqa: ANN401 - an ApiKey
    with pytest.raises(KeyRefusedError) as refused:
        await world.verify(key)
    return refused.value.reason


async def mint(world: World, key: Any) -> str:  # noqa: ANN401 - an ApiKey
    verdict = await world.verify(key)
    return (await world.exchange.mint(verdict, asked())).token


async def jwt_is_good(world: World, token: str) -> bool:
    try:
        await world.here.jwts.verify(token, asked())
    except KeyRefusedError:
        return False
    return True


async def suspend(world: World, issued: IssuedKey) -> None:
    await world.here.lifecycle.suspend(issued.record.key_id, suspended_by="test")


async def resume(world: World, issued: IssuedKey) -> KeyRecord:
    _, record = await world.here.alterations.resume(issued.record.key_id, by="test")
    return record


async def rotate(world: World, issued: IssuedKey, grace: timedelta = DAY) -> RotatedKey:
    return await world.here.alterations.rotate(issued.record.key_id, grace=grace, by="test")


async def alter(world: World, issued: IssuedKey, **policy: Any) -> KeyRecord:  # noqa: ANN401 - fields of the policy
    _, record = await world.here.alterations.alter(issued.record.key_id, Wanted(policy=policy), by="test")
    return record


async def test_suspended_key_and_its_jwts_are_refused_until_resumed(world: World) -> None:
    """Suspending bites on key and JWTs; resuming brings the key back, and not the JWTs from before."""
    issued = await world.issue()
    token = await mint(world, issued.key)
    await suspend(world, issued)
    assert await refusal(world, issued.key) is Reason.SUSPENDED
    assert not await jwt_is_good(world, token)
    await resume(world, issued)
    assert (await world.verify(issued.key)).record.status is Status.ACTIVE
    assert not await jwt_is_good(world, token)
    assert await jwt_is_good(world, await mint(world, issued.key))


async def test_a_process_without_the_log_knows_old_jwts_too(world: World) -> None:
    """What killed a JWT stands in the record: a process that never heard the log refuses it all the same."""
    issued = await world.issue()
    token = await mint(world, issued.key)
    await suspend(world, issued)
    await resume(world, issued)
    world.log.lose()
    fresh = await world.start()
    with pytest.raises(KeyRefusedError) as refused:
        await fresh.jwts.verify(token, asked())
    assert refused.value.reason is Reason.JWT_KILLED


async def test_suspension_without_the_directory_is_written_when_it_answers(world: World) -> None:
    """With the directory away a suspension bites at once, is written later, and can then be undone."""
    issued = await world.issue()
    await world.verify(issued.key)
    away = replace(world.here.lifecycle.stops, directory=world.directory)
    world.directory.down = True
    assert (await away.suspend(issued.record.key_id, suspended_by="test")).held is None
    with pytest.raises(KeyRefusedError):
        await world.verify(issued.key)
    with pytest.raises(CannotTellError):
        await resume(world, issued)  # not before it is written: else it would be written after
    world.directory.down = False
    await world.here.lifecycle.stops.finish_journal()
    await world.pass_time(0.1)
    assert (await world.stored(issued)).status is Status.SUSPENDED
    assert await refusal(world, issued.key) is Reason.SUSPENDED
    await resume(world, issued)
    assert (await world.verify(issued.key)).record.status is Status.ACTIVE


async def test_both_secrets_work_until_the_grace_ends(world: World) -> None:
    """After a rotation old and new secret are the same key; when the grace ends the old one and its JWTs are dead."""
    issued = await world.issue()
    before = await mint(world, issued.key)
    rotated = await rotate(world, issued, timedelta(seconds=100))
    assert rotated.key.key_id == issued.record.key_id
    by_old, by_new = await mint(world, issued.key), await mint(world, rotated.key)
    assert [await jwt_is_good(world, token) for token in (before, by_old, by_new)] == [True, True, True]
    await world.pass_time(100)
    assert await refusal(world, issued.key) is Reason.SECRET_ENDED
    assert [await jwt_is_good(world, token) for token in (before, by_new)] == [False, True]
    assert (await world.verify(rotated.key)).record.key_id == issued.record.key_id
    assert "secret_ended" in world.reasons()


async def test_jwt_by_the_old_secret_does_not_outlive_the_grace(world: World) -> None:
    """A JWT made a moment before the grace ends says so in its `exp`."""
    issued = await world.issue()
    rotated = await rotate(world, issued, timedelta(seconds=100))
    claims = world.tokens.verify(await mint(world, issued.key))
    assert claims is not None
    assert claims["exp"] == int(rotated.ends_at.timestamp())


async def test_rotation_without_grace_ends_the_old_secret_at_once(world: World) -> None:
    """With no grace the old secret and its JWTs are dead when the new one is handed out."""
    issued = await world.issue()
    before = await mint(world, issued.key)
    rotated = await rotate(world, issued, timedelta(0))
    assert await refusal(world, issued.key) is Reason.SECRET_ENDED
    assert not await jwt_is_good(world, before)
    assert await jwt_is_good(world, await mint(world, rotated.key))


async def test_a_second_rotation_ends_the_oldest_secret(world: World) -> None:
    """At most two secrets work at any time."""
    issued = await world.issue()
    second = await rotate(world, issued)
    third = await rotate(world, issued)
    assert await refusal(world, issued.key) is Reason.SECRET_ENDED
    for key in (second.key, third.key):
        assert (await world.verify(key)).record.key_id == issued.record.key_id


async def test_at_most_two_ended_secrets_are_remembered(world: World) -> None:
    """A record does not grow with its rotations, and forgets no secret that still works."""
    issued = await world.issue()
    keys = [issued.key] + [(await rotate(world, issued)).key for _ in range(5)]
    assert len((await world.stored(issued)).earlier) == 3
    assert [await refusal(world, key) for key in keys[:4]] == [Reason.WRONG_SECRET] * 2 + [Reason.SECRET_ENDED] * 2


async def test_old_secret_survives_a_narrower_policy_within_its_grace(world: World) -> None:
    """Narrowing a policy during a grace kills JWTs from before, and neither of the two secrets."""
    issued = await world.issue(policy=Policy(scopes=("read", "write")))
    rotated = await rotate(world, issued)
    tokens = [await mint(world, issued.key), await mint(world, rotated.key)]
    await alter(world, issued, scopes=("read",))
    assert [await jwt_is_good(world, token) for token in tokens] == [False, False]
    for key in (issued.key, rotated.key):
        assert (await world.verify(key)).record.policy.scopes == ("read",)
        assert await jwt_is_good(world, await mint(world, key))


async def test_old_secret_survives_suspension_within_its_grace(world: World) -> None:
    """Suspended and resumed during a grace, both secrets work again."""
    issued = await world.issue()
    rotated = await rotate(world, issued)
    await suspend(world, issued)
    assert [await refusal(world, key) for key in (issued.key, rotated.key)] == [Reason.SUSPENDED] * 2
    await resume(world, issued)
    for key in (issued.key, rotated.key):
        assert await jwt_is_good(world, await mint(world, key))


@pytest.mark.parametrize("suspended", [True, False])
async def test_a_secret_that_ended_takes_no_jwt_of_one_in_its_grace(world: World, *, suspended: bool) -> None:
    """Rotated twice and then suspended or narrowed, the second secret still gives JWTs that are good."""
    issued = await world.issue(policy=Policy(scopes=("read", "write")))
    second, third = await rotate(world, issued), await rotate(world, issued)
    if suspended:
        await suspend(world, issued)
        await resume(world, issued)
    else:
        await alter(world, issued, scopes=("read",))
    for key in (second.key, third.key):
        assert await jwt_is_good(world, await mint(world, key))
    assert await refusal(world, issued.key) is Reason.SECRET_ENDED


async def test_a_wider_policy_or_a_new_name_kills_nothing(world: World) -> None:
    """JWTs handed out live on when the key may do more, or is called otherwise."""
    issued = await world.issue(policy=Policy(scopes=("read",)))
    token = await mint(world, issued.key)
    await alter(world, issued, scopes=("read", "write"))
    await world.here.alterations.alter(issued.record.key_id, Wanted(name="desk", policy={}), by="test")
    assert await jwt_is_good(world, token)
    record = await world.stored(issued)
    assert (record.name, record.gen) == ("desk", issued.record.gen + 1)


async def test_an_earlier_expiry_kills_jwts(world: World) -> None:
    """A JWT from before could outlive the key."""
    issued = await world.issue()
    token = await mint(world, issued.key)
    wanted = Wanted(policy={}, expires=True, expires_at=world.time.now() + DAY)
    await world.here.alterations.alter(issued.record.key_id, wanted, by="test")
    assert not await jwt_is_good(world, token)


async def test_narrowing_is_heard_in_other_processes(world: World) -> None:
    """Another process drops its verdict, and the JWT, as soon as it hears of it."""
    issued, other = await world.issue(policy=Policy(scopes=("read", "write"))), await world.start()
    token = await mint(world, issued.key)
    await world.verify(issued.key, other)
    await alter(world, issued, scopes=("read",))
    await world.pass_time(0.1)
    assert (await world.verify(issued.key, other)).record.policy.scopes == ("read",)
    with pytest.raises(KeyRefusedError):
        await other.jwts.verify(token, asked())


async def test_undone_rotation_is_refused(world: World) -> None:
    """A console page from before the rotation brings the old secret back: refused, for the floor is higher."""
    issued = await world.issue()
    rotated = await rotate(world, issued, timedelta(0))
    await world.write(issued.owner.id, issued.record)
    await world.here.follower.announce(_touch(issued))
    assert await refusal(world, issued.key) is Reason.CHANGE_UNDONE
    assert await refusal(world, rotated.key) is Reason.WRONG_SECRET


async def test_undone_suspension_is_written_again(world: World) -> None:
    """A console page from before the suspension does not bring the key back, and is put right."""
    issued = await world.issue()
    await suspend(world, issued)
    await world.write(issued.owner.id, issued.record)
    await world.here.follower.announce(_touch(issued))
    assert await refusal(world, issued.key) is Reason.CHANGE_UNDONE
    await world.settle()
    assert (await world.stored(issued)).status is Status.SUSPENDED
    await resume(world, issued)
    assert (await world.verify(issued.key)).record.status is Status.ACTIVE


async def test_dead_and_unknown_keys_are_not_altered(world: World) -> None:
    """Revoked is final, for suspending, resuming, rotating and policies alike."""
    issued = await world.issue()
    await world.here.lifecycle.revoke(issued.record.key_id, reason=RevocationReason.UNSPECIFIED, revoked_by="test")
    for attempt in (suspend, resume, rotate, alter):
        with pytest.raises(ChangeRefusedError, match="revoked"):
            await attempt(world, issued)
    with pytest.raises(KeyUnknownError):
        await world.here.alterations.resume("000000000000", by="test")


async def test_resume_counts_live_keys(world: World) -> None:
    """Who has issued others meanwhile up to the bound revokes one first."""
    issued = await world.issue()
    await suspend(world, issued)
    bounded = replace(world.here.alterations, lifecycle=replace(world.here.lifecycle, max_keys_per_owner=1))
    await bounded.resume(issued.record.key_id, by="test")
    await suspend(world, issued)
    await world.issue()
    with pytest.raises(ChangeRefusedError, match="other live keys"):
        await bounded.resume(issued.record.key_id, by="test")


async def test_a_key_whose_record_is_full_is_suspended_and_resumed(world: World) -> None:
    """However large a policy was taken, its key comes back from a suspension; what is kept free for that stays free."""
    issued = await world.issue()
    await fill(world, issued)
    assert len((await world.stored(issued)).to_text()) == MAX_TEXT - REVOKE_RESERVE
    for _ in range(2):
        await suspend(world, issued)
        with pytest.raises(RecordTooLargeError):
            await alter(world, issued, projects=(*(await world.stored(issued)).policy.projects, "p" * 40))
        await resume(world, issued)
    assert (await world.verify(issued.key)).record.status is Status.ACTIVE


async def fill(world: World, issued: IssuedKey) -> None:
    """Give a key a policy beside which there is room for no other character; a JWT carries none of it."""
    await alter(world, issued, audiences=("u:a",))
    room = MAX_TEXT - REVOKE_RESERVE - len((await world.stored(issued)).to_text())
    most, last = divmod(room - 10, 103)  # of 100 letters each, quotes and comma; the last is never too short
    await alter(world, issued, audiences=("u:a", *["u:" + "a" * 98] * most, "u:" + "a" * (last + 5)))


@pytest.mark.parametrize("grace", [timedelta(seconds=-1), timedelta(days=31)])
async def test_grace_is_bounded(world: World, grace: timedelta) -> None:
    """A grace is 0 to 30 days."""
    with pytest.raises(ChangeRefusedError, match="grace"):
        await rotate(world, await world.issue(), grace)


async def test_grace_ends_with_the_key(world: World) -> None:
    """The old secret does not outlive its key."""
    issued = await world.issue(expires_at=world.time.now() + timedelta(hours=2))
    assert (await rotate(world, issued, timedelta(days=30))).ends_at == issued.record.expires_at


async def test_rotation_cut_off_half_way_leaves_the_old_secret(world: World) -> None:
    """A rotation without grace that dies between its steps leaves both secrets working."""
    issued = await world.issue()
    update, writes = world.store.update, 0

    async def once(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - as the port has it
        nonlocal writes
        writes += 1
        if writes > 1:
            raise CannotTellError("cut off")
        return await update(*arguments, **named)

    world.store.update = once  # type: ignore[method-assign]  # a store that dies
    with pytest.raises(CannotTellError):
        await rotate(world, issued, timedelta(0))
    assert (await world.verify(issued.key)).record.key_id == issued.record.key_id


def _touch(issued: IssuedKey) -> Change:
    return Change(owner_id=issued.owner.id)
