"""The one place that counts: whatever is verified, as a key or as a JWT, spends the limits of its key."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keystile.errors import KeyRefusedError, LimitReachedError, Reason
from keystile.records import RevocationReason
from keystile.restrictions import Policy
from unit.builders import NOW, asked

if TYPE_CHECKING:
    from keystile.authority.lifecycle import IssuedKey
    from unit.world import World


@pytest.fixture
async def real_clock(world: World) -> None:
    """Begin now: PyJWT looks at the machine's own clock."""
    await world.pass_time(float(int(time.time() - world.time.now().timestamp())))


async def spend(world: World, issued: IssuedKey, times: int) -> None:
    for _ in range(times):
        await world.verify(issued.key)


async def test_every_verified_request_counts(world: World) -> None:
    """A key that stands is counted like one that does not; introspection counts nothing."""
    issued = await world.issue(policy=Policy(requests_per_hour=5))
    await spend(world, issued, 3)
    for _ in range(10):
        await world.verify(issued.key, is_counted=False)
    await spend(world, issued, 2)
    with pytest.raises(LimitReachedError):
        await world.verify(issued.key)
    await world.verify(issued.key, is_counted=False)


@pytest.mark.usefixtures("real_clock")
async def test_a_reused_jwt_counts_on_its_key(world: World) -> None:
    """One JWT presented again and again spends what its key would have spent."""
    issued = await world.issue(policy=Policy(requests_per_hour=5))
    verdict = await world.verify(issued.key)
    token = (await world.exchange.mint(verdict, asked())).token
    for _ in range(4):
        await world.here.jwts.verify(token, asked())
    for _ in range(2):
        with pytest.raises(LimitReachedError):
            await world.here.jwts.verify(token, asked())
    with pytest.raises(LimitReachedError):
        await world.verify(issued.key)


async def test_a_refused_request_spends_nothing(world: World) -> None:
    """A key refused for what it asks, or for what it is, takes nothing from its owner's other keys."""
    issued = await world.issue(policy=Policy(level="user"))
    for _ in range(5):
        with pytest.raises(KeyRefusedError):
            await world.verify(issued.key, scopes=("admin",))
    await world.here.lifecycle.revoke(issued.record.key_id, reason=RevocationReason.UNSPECIFIED, revoked_by="test")
    with pytest.raises(KeyRefusedError):
        await world.verify(issued.key)
    assert world.allowances.takes == []


@pytest.mark.usefixtures("real_clock")
@pytest.mark.parametrize("as_jwt", [False, True])
async def test_a_revoke_bites_while_a_request_waits_to_be_counted(world: World, as_jwt: bool) -> None:  # noqa: FBT001 - a parameter
    """What was judged before the store was asked is judged again after it."""
    issued = await world.issue(policy=Policy(requests_per_hour=500))
    verdict = await world.verify(issued.key)
    token = (await world.exchange.mint(verdict, asked())).token
    world.allowances.asked.clear()
    world.allowances.may_answer.clear()
    ask = world.here.jwts.verify(token, asked()) if as_jwt else world.verify(issued.key)
    request = asyncio.create_task(ask)
    await world.allowances.asked.wait()
    await world.here.lifecycle.revoke(issued.record.key_id, reason=RevocationReason.UNSPECIFIED, revoked_by="test")
    world.allowances.may_answer.set()
    with pytest.raises(KeyRefusedError):
        await request


async def test_an_unknown_level_refuses_the_key(world: World) -> None:
    """Nobody knows what it was to be limited to, so it may do nothing, and the audit says why."""
    issued = await world.issue()
    await world.write(issued.owner.id, replace(issued.record, policy=Policy(level="platinum")))
    with pytest.raises(KeyRefusedError) as refused:
        await world.verify(issued.key)
    assert refused.value.reason is Reason.LEVEL_UNKNOWN
    assert world.reasons() == ["level_unknown"]


async def test_refusals_are_counted_and_audited_once_a_minute(world: World) -> None:
    """Every refusal is in the metrics, and the audit has a line a minute that names the limit."""
    issued = await world.issue(policy=Policy(requests_per_hour=1))
    await world.verify(issued.key)
    for _ in range(2):
        for _ in range(5):
            with pytest.raises(LimitReachedError):
                await world.verify(issued.key)
        await world.pass_time(60)
    assert world.here.verifier.auditor.counts.outcomes["limited", "rate_limited"] == 10
    lines = [event for event in world.audit.events if event.reason == "rate_limited"]
    assert len(lines) == 2
    assert (lines[0].key_id, lines[0].owner) == (issued.record.key_id, "alice")
    assert lines[0].detail == {"door": "token", "limit": "key-hour"}


async def test_no_lease_outlives_the_expiry_of_its_key(world: World) -> None:
    """An expired key is refused as expired, whatever it has leased."""
    issued = await world.issue(policy=Policy(requests_per_hour=500), expires_at=NOW + timedelta(seconds=30))
    await spend(world, issued, 8)
    await world.pass_time(30)
    with pytest.raises(KeyRefusedError) as refused:
        await world.verify(issued.key)
    assert refused.value.reason is Reason.EXPIRED
