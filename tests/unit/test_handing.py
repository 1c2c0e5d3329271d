from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keystile.authority.revocation import Revocation
from keystile.errors import CannotTellError
from keystile.records import RevocationReason
from unit.builders import asked
from unit.realm_world import MCP, RealmProcess, RealmWorld

if TYPE_CHECKING:
    from keystile.authority.lifecycle import IssuedKey
    from unit.world import World


@pytest.fixture
def realm(world: World) -> RealmWorld:
    return RealmWorld.of(world)


@pytest.fixture
def here(realm: RealmWorld) -> RealmProcess:
    return realm.join()


async def revoke(realm: RealmWorld, issued: IssuedKey) -> None:
    await realm.world.here.lifecycle.revoke(
        issued.record.key_id, reason=RevocationReason.UNSPECIFIED, revoked_by="test"
    )


async def test_revoked_key_takes_all_its_tokens_along(realm: RealmWorld, here: RealmProcess) -> None:
    """Whatever was handed out for a key is inactive at the realm after its revoke; another key's token is not."""
    issued, other = await realm.issue(), await realm.issue()
    tokens = {(await realm.mint(here, issued, audience=audience)).token for audience in (None, MCP)}
    kept = (await realm.mint(here, other)).token
    await revoke(realm, issued)
    await here.handed.take_back_killed()
    assert set(realm.signer.revoked) == tokens
    assert realm.signer.is_active(kept)
    await here.handed.take_back_killed()
    assert len(realm.signer.revoked) == 2


async def test_token_that_its_key_revokes_is_taken_back_and_never_given_again(
    realm: RealmWorld, here: RealmProcess
) -> None:
    """RFC 7009, 2: 200 for a token of the realm means that it ends there too; another key ends nothing by it."""
    issued, other = await realm.issue(), await realm.issue()
    token = (await realm.mint(here, issued)).token
    elsewhere = realm.join(await realm.world.start())
    for key, ends in ((other, []), (issued, [token])):
        world = realm.world.here
        verdict = await world.verifier.verify(key.key.reveal(), asked())
        revocation = Revocation(jwts=world.jwts, alterations=world.alterations, handed=here.handed)
        await revocation.revoke(token, key.key.reveal(), verdict, asked())
        await realm.world.pass_time(0.1)
        await elsewhere.handed.take_back_killed()
        assert realm.signer.revoked == ends
    assert (await realm.mint(here, issued)).token != token


async def test_any_process_that_hears_of_it_takes_back(realm: RealmWorld, here: RealmProcess) -> None:
    """Who revokes, who handed out, and who takes back may be three; several who try at once do it once."""
    issued = await realm.issue()
    token = (await realm.mint(here, issued)).token
    others = [realm.join(await realm.world.start()) for _ in range(2)]
    await revoke(realm, issued)
    await realm.world.pass_time(0.1)
    tried = await asyncio.gather(*(each.handed.take_back_killed() for each in others), return_exceptions=True)
    assert realm.signer.revoked == [token]
    assert all(outcome is None or isinstance(outcome, CannotTellError) for outcome in tried)
    for each in (*others, here):
        await each.handed.take_back_killed()
    assert realm.signer.revoked == [token]


async def test_suspended_key_and_ended_secret_too(realm: RealmWorld, here: RealmProcess) -> None:
    """A suspension ends tokens, a rotation without grace those of the old secret, and what comes after is spared."""
    issued = await realm.issue()
    first = (await realm.mint(here, issued)).token
    key_id = issued.record.key_id
    await here.process.lifecycle.suspend(key_id, suspended_by="test")
    await here.handed.take_back_killed()
    assert realm.signer.revoked == [first]
    await here.process.alterations.resume(key_id, by="test")
    second = (await realm.mint(here, issued)).token
    await here.handed.take_back_killed()
    assert realm.signer.is_active(second)
    rotated = await here.process.alterations.rotate(key_id, grace=timedelta(0), by="test")
    await here.handed.take_back_killed()
    assert realm.signer.revoked == [first, second]
    verdict = await here.process.verifier.verify(rotated.key.reveal(), asked())
    third = (await here.exchange.mint(verdict, asked())).token
    await here.handed.take_back_killed()
    assert realm.signer.is_active(third)


async def test_grace_that_ends_takes_its_tokens_along(realm: RealmWorld, here: RealmProcess) -> None:
    """The old secret's token lives while its grace does, and not a second longer than the log says."""
    issued = await realm.issue()
    await here.process.alterations.rotate(issued.record.key_id, grace=timedelta(minutes=6), by="test")
    token = (await realm.mint(here, issued)).token
    await here.handed.take_back_killed()
    assert realm.signer.is_active(token)
    await realm.world.pass_time(361)
    await here.handed.take_back_killed()
    assert realm.signer.revoked == []  # it ended by itself before: a token never outlives its grace


async def test_realm_away_is_tried_again(realm: RealmWorld, here: RealmProcess) -> None:
    """While Keycloak cannot be told, nothing is forgotten; once it answers, it is told."""
    issued = await realm.issue()
    token = (await realm.mint(here, issued)).token
    await revoke(realm, issued)
    realm.signer.down = True
    with pytest.raises(CannotTellError):
        await here.handed.take_back_killed()
    await here.handed.finish()
    realm.signer.down = False
    await here.handed.take_back_killed()
    assert realm.signer.revoked == [token]


async def test_store_away_leaves_tokens_with_whoever_made_them(realm: RealmWorld, here: RealmProcess) -> None:
    """While Redis is away tokens are handed out, held here, and taken back by this process."""
    issued = await realm.issue()
    realm.store.down = True
    token = (await realm.mint(here, issued)).token
    await revoke(realm, issued)
    with pytest.raises(CannotTellError):  # there may be more of other processes
        await here.handed.take_back_killed()
    assert realm.signer.revoked == [token]
    realm.store.down = False
    await here.handed.take_back_killed()
    assert realm.signer.revoked == [token]


async def test_two_kills_of_one_key_take_a_held_token_back(
    realm: RealmWorld, here: RealmProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two graces of a key that ended, heard at once while Redis is away: whoever is second finds nothing left to do."""
    issued = await realm.issue()
    realm.store.down = True
    token = (await realm.mint(here, issued)).token
    told = realm.signer.revoke

    async def revoke_slowly(text: str) -> None:
        await asyncio.sleep(0)
        await told(text)

    monkeypatch.setattr(realm.signer, "revoke", revoke_slowly)
    for _ in range(2):
        await realm.world.here.alterations.rotate(issued.record.key_id, grace=timedelta(seconds=5), by="test")
        await realm.world.pass_time(1)
    await realm.world.pass_time(6)
    with pytest.raises(CannotTellError):  # there may be more of other processes
        await here.handed.take_back_killed()
    assert set(realm.signer.revoked) == {token}


async def test_held_tokens_are_put_away_when_the_store_is_back(realm: RealmWorld, here: RealmProcess) -> None:
    """What was held here while Redis was away is known to everybody afterwards."""
    issued = await realm.issue()
    realm.store.down = True
    await realm.mint(here, issued)
    realm.store.down = False
    going = asyncio.create_task(here.handed.run())
    now = realm.world.time.now().timestamp()
    async with asyncio.timeout(5):
        await realm.store.added.wait()
    assert len(await realm.store.of(issued.record.key_id, now)) == 1
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)


async def test_held_token_is_not_lost_for_want_of_room(realm: RealmWorld, here: RealmProcess) -> None:
    """A token that the store has no room for stays with whoever made it, and a revoke finds it there."""
    issued = await realm.issue()
    realm.store.down = True
    tokens = {(await realm.mint(here, issued, audience=audience)).token for audience in (None, MCP)}
    realm.store.down = False
    realm.store.inner = type(realm.store.inner)(most=1)
    going = asyncio.create_task(here.handed.run())
    async with asyncio.timeout(5):
        await realm.store.added.wait()
    await revoke(realm, issued)
    await here.handed.take_back_killed()
    assert set(realm.signer.revoked) == tokens
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)


async def test_command_takes_back_what_it_stopped_itself(realm: RealmWorld, here: RealmProcess) -> None:
    """A command does what no server may be there to do, and leaves to servers what others stopped before."""
    earlier, own = await realm.issue(), await realm.issue()
    await realm.mint(here, earlier)
    token = (await realm.mint(here, own)).token
    await revoke(realm, earlier)
    await realm.world.pass_time(1)
    command = realm.join()
    await revoke(realm, own)
    await command.handed.finish()
    assert realm.signer.revoked == [token]


async def test_kill_of_long_ago_asks_nobody(realm: RealmWorld, here: RealmProcess) -> None:
    """A process that starts and reads hours of the log does not ask for tokens that ended long ago."""
    issued = await realm.issue()
    await realm.mint(here, issued)
    await revoke(realm, issued)
    realm.world.time.passed += 3600
    realm.store.down = True
    await here.handed.take_back_killed()
    assert realm.signer.revoked == []
