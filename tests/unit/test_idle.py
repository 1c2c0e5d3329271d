from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keystile.errors import KeyRefusedError, Reason
from keystile.policy import decide
from keystile.ports import UsageBatch
from keystile.restrictions import Policy
from keystile.verdicts import Verdict
from unit.builders import NOW, a_record, an_owner, asked

if TYPE_CHECKING:
    from unit.world import World

DAY = 86_400.0
IDLE = Policy(idle_days=30)


async def refused(world: World, text: str) -> Reason:
    with pytest.raises(KeyRefusedError) as refusal:
        await world.verify(text)
    return refusal.value.reason


async def test_key_used_in_time_lives(world: World) -> None:
    """A key that is used every 29 days goes on for ever."""
    issued = await world.issue(policy=IDLE)
    for _ in range(4):
        await world.pass_time(29 * DAY)
        await world.verify(issued.key)
        await world.tell_usage()


async def test_unused_key_is_refused(world: World) -> None:
    """A key that nobody used for 30 days is refused, says why in the audit, and goes on being refused."""
    issued = await world.issue(policy=IDLE)
    await world.verify(issued.key)
    await world.tell_usage()
    await world.pass_time(30 * DAY)
    for _ in range(2):
        assert await refused(world, issued.key.reveal()) is Reason.IDLE
        await world.tell_usage()
        await world.pass_time(DAY)
    assert world.reasons() == ["idle", "idle"]


async def test_refused_idle_key_costs_one_look_up(world: World) -> None:
    """Who presents an idle key again and again asks neither directory nor store each time."""
    issued = await world.issue(policy=IDLE)
    await world.verify(issued.key)
    await world.tell_usage()
    await world.pass_time(31 * DAY)
    before = len(world.directory.finds)
    for _ in range(5):
        assert await refused(world, issued.key.reveal()) is Reason.IDLE
    assert len(world.directory.finds) == before + 1


async def test_key_never_used_idles_from_its_issue(world: World) -> None:
    """A key that was never used at all counts from when it was issued, if uses have been kept since then."""
    await world.tell_usage()
    await world.usage.add(_empty())
    issued = await world.issue(policy=IDLE)
    await world.pass_time(31 * DAY)
    assert await refused(world, issued.key.reveal()) is Reason.IDLE


async def test_lost_uses_end_no_key(world: World) -> None:
    """A store that begins anew, and so knows no use, gives every key its days again."""
    issued = await world.issue(policy=IDLE)
    await world.pass_time(300 * DAY)  # nothing was ever kept
    await world.verify(issued.key)


async def test_store_away_ends_no_key(world: World) -> None:
    """While nobody can tell when a key was used it is answered."""
    issued = await world.issue(policy=IDLE)
    await world.verify(issued.key)
    await world.tell_usage()
    await world.pass_time(31 * DAY)
    world.usage.down = True
    await world.verify(issued.key)


async def test_key_without_idle_days_is_not_asked_about(world: World) -> None:
    """Only a policy that says so costs a look at the uses, and only such a key ends by them."""
    issued = await world.issue()
    await world.verify(issued.key)
    await world.tell_usage()
    await world.pass_time(3_000 * DAY)
    world.usage.down = True
    verdict = await world.verify(issued.key)
    assert verdict.idles_at is None


def test_decision_is_pure() -> None:
    """`decide` compares moments, and what is worse about a key comes first."""
    idled, later = NOW.timestamp(), NOW.timestamp() + 1
    assert decide(a_record(), an_owner(), asked(), NOW, idled) is Reason.IDLE
    assert decide(a_record(), an_owner(), asked(), NOW, later) is None
    assert decide(a_record(expires_at=NOW), an_owner(), asked(), NOW, idled) is Reason.EXPIRED


async def test_verdict_carries_the_moment(world: World) -> None:
    """What another process is told of a key says until when it may idle; the verdict stands no longer."""
    issued = await world.issue(policy=IDLE)
    verdict = await world.verify(issued.key)
    assert verdict.idles_at == NOW.timestamp() + 30 * DAY
    assert Verdict.from_text(verdict.to_text()).idles_at == verdict.idles_at
    assert verdict.seconds_to_expiry(NOW) == 30 * DAY


def _empty() -> UsageBatch:
    return UsageBatch(id="first")
