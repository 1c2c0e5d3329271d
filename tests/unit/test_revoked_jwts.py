"""Single JWTs that were revoked: heard by every process, over restarts, a lost log and a bounded memory."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from keystile.authority import revoked
from keystile.authority.memory import REMEMBERED
from keystile.authority.revocation import Revocation
from keystile.authority.revoked import CLOCKS_APART, RevokedJwts
from keystile.changes import Change, sign, unsign
from keystile.errors import CannotTellError, KeyRefusedError
from keystile.wiring import LOG_RETENTION
from unit.builders import PEPPERS, asked
from unit.environments import fault
from unit.listening import KEY, NOW_SECONDS, Listener

if TYPE_CHECKING:
    from keystile.authority.lifecycle import IssuedKey
    from unit.environments import Load
    from unit.world import Process, World


@pytest.fixture(autouse=True)
def real_clock(world: World) -> None:
    """Begin now: PyJWT looks at the machine's own clock."""
    world.time.passed = float(int(time.time() - world.time.now().timestamp()))


async def mint(world: World, issued: IssuedKey) -> str:
    verdict = await world.here.verifier.verify(issued.key.reveal(), asked())
    return (await world.exchange.mint(verdict, asked())).token


async def revoke(world: World, issued: IssuedKey, token: str, process: Process | None = None) -> None:
    process = process or world.here
    verdict = await process.verifier.verify(issued.key.reveal(), asked())
    revocation = Revocation(jwts=process.jwts, alterations=process.alterations)
    await revocation.revoke(token, issued.key.reveal(), verdict, asked())


async def is_good(token: str, process: Process) -> bool:
    with suppress(KeyRefusedError):
        await process.jwts.verify(token, asked())
        return True
    return False


def a_revocation(jti: str = "j1", *, key_id: str = KEY, until: float = NOW_SECONDS + 300) -> Change:
    return Change(key_id=key_id, jti=jti, jti_gen=1, jti_until=until, at=NOW_SECONDS)


async def test_revoked_jwt_is_dead_in_every_process(world: World) -> None:
    """Here at once, elsewhere with the next read of the log, and in a process that starts later."""
    issued, other = await world.issue(), await world.start()
    token, another = await mint(world, issued), await mint(world, issued)
    assert await is_good(token, other)
    await revoke(world, issued, token)
    assert not await is_good(token, world.here)
    await world.pass_time(0.1)
    for process in (other, await world.start()):
        assert not await is_good(token, process)
        assert await is_good(another, process)


async def test_revoked_jwt_stays_dead_when_the_log_is_lost(world: World) -> None:
    """After a flush each process says again what it remembers, to those that were not there (DESIGN 6)."""
    issued = await world.issue()
    token = await mint(world, issued)
    await revoke(world, issued, token)
    world.log.lose()
    await world.pass_time(0.1)
    assert not await is_good(token, world.here)
    assert not await is_good(token, await world.start())


async def test_revoked_jwt_is_forgotten_after_its_end_alone(world: World) -> None:
    """Memory is bounded by the few minutes a JWT lives, and a minute or two for clocks that differ."""
    issued = await world.issue()
    await revoke(world, issued, await mint(world, issued))
    memory, now = world.here.memory, world.time.now().timestamp()
    memory.forget(now + 300 + CLOCKS_APART - 2)
    assert len(memory.revoked) == 1
    memory.forget(now + 300 + CLOCKS_APART + 2)
    assert len(memory.revoked) == 0


async def test_log_that_is_away_revokes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be said is not obeyed here alone: whoever asked was told to ask again."""
    issued = await world.issue()
    token = await mint(world, issued)

    async def away(_change: Change) -> None:
        raise CannotTellError("the log is away")

    with monkeypatch.context() as patch:
        patch.setattr(world.log, "append", away)
        with pytest.raises(CannotTellError):
            await revoke(world, issued, token)
    assert await is_good(token, world.here)


async def test_more_than_is_kept_ends_all_of_the_key(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever revokes more single JWTs than are remembered ends all that its key gave: never fewer than asked."""
    monkeypatch.setattr(revoked, "MOST_OF_A_KEY", 2)
    issued, neighbour, other = await world.issue(), await world.issue(), await world.start()
    tokens, theirs = [await mint(world, issued) for _ in range(4)], await mint(world, neighbour)
    for token in tokens[:2]:
        await revoke(world, issued, token)
    assert await is_good(tokens[3], other)
    await revoke(world, issued, tokens[2])
    await world.pass_time(0.1)
    for process in (world.here, other, await world.start()):
        assert [await is_good(token, process) for token in tokens] == [False] * 4
        assert await is_good(theirs, process)
        assert await is_good(await mint(world, issued), process)
    assert len(world.here.memory.revoked) == 0  # dead with all of their generation: there is room for others again


async def test_full_memory_ends_all_of_the_key_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is where keys together fill what is kept: the next key pays with its own JWTs, and nobody else's."""
    monkeypatch.setattr(revoked, "MOST", 1)
    first, second = await world.issue(), await world.issue()
    tokens = [await mint(world, first), await mint(world, second), await mint(world, second)]
    await revoke(world, first, tokens[0])
    await revoke(world, second, tokens[1])
    assert [await is_good(token, world.here) for token in tokens] == [False] * 3
    assert await is_good(await mint(world, first), world.here)


async def test_ended_jwts_leave_the_secrets_alone(world: World) -> None:
    """A key whose JWTs were all ended works on, and so does the secret before it while its grace lasts."""
    issued = await world.issue()
    token = await mint(world, issued)
    await world.here.alterations.end_jwts(issued.record.key_id, by="test")
    assert not await is_good(token, world.here)
    assert await is_good(await mint(world, issued), world.here)


def test_revocation_reaches_no_other_key() -> None:
    """The same `jti` at another key is another JWT: nobody revokes by guessing."""
    kept = RevokedJwts()
    kept.add(a_revocation())
    assert kept.has(KEY, "j1")
    assert not kept.has("another", "j1")
    assert not kept.has(KEY, "j2")


def test_the_same_revocation_again_counts_once() -> None:
    """Each process may say it again."""
    kept = RevokedJwts()
    for _ in range(3):
        kept.add(a_revocation())
    assert len(kept) == 1


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"kills_below": 2}, 0),
        ({"kills_below": 1}, 1),
        ({"kills_below": 0}, 1),
        ({"kills_below": 2, "kills_from": NOW_SECONDS + 60}, 1),
        ({"kills_below": 2**53, "suspends": True, "pending": True}, 1),
        ({"kills_below": 2, "key_id": "another"}, 1),
    ],
)
def test_only_what_is_dead_for_certain_is_not_kept(changes: dict[str, Any], kept: int) -> None:
    """A kill of its generation makes room; one that may still be undone, or is for later, makes none."""
    listener = Listener()
    listener.hear(5, a_revocation())
    listener.hear(6, Change(**{"key_id": KEY, "at": NOW_SECONDS, **changes}))
    assert len(listener.memory.revoked) == kept


def test_new_life_of_the_log_is_told_what_still_matters() -> None:
    """What a new log does not know is said again, unless it is over or was said by another process already."""
    listener = Listener()
    ended = a_revocation("ended", until=NOW_SECONDS - 1)
    listener.hear(5, a_revocation("j1"), a_revocation("j2"), ended)
    assert listener.hear(1, a_revocation("j2"), life="b") == (a_revocation("j1"),)
    assert listener.hear(2, life="b") == ()


def test_revocation_voids_what_was_read_of_its_key() -> None:
    """A verdict may hold the very JWT that was revoked: it is read again."""
    listener = Listener()
    listener.hear(5)
    before = listener.memory.position
    listener.hear(6, a_revocation())
    assert not listener.memory.counts(before, KEY)
    assert not listener.memory.is_killed(KEY, 0, NOW_SECONDS)


def test_process_that_does_not_know_revocations_reads_the_key_again() -> None:
    """In a mixed deployment an older process hears a change of the key that kills and lifts nothing."""
    older = {"gen", "key_id", "kills_below", "kills_from", "dead", "suspends", "pending", "at"}
    heard = unsign(Change, sign(a_revocation(), PEPPERS), PEPPERS)
    assert heard == a_revocation()
    known = Change(**{name: getattr(a_revocation(), name) for name in older})
    suspension = Change(key_id=KEY, kills_below=2**53, suspends=True, pending=True, gen=2, at=NOW_SECONDS - 1)
    assert not known.outdoes(suspension)
    listener = Listener()
    listener.hear(5, suspension)
    listener.hear(6, known)
    assert listener.memory.pending() == (suspension,)


def test_log_and_memory_outlast_every_jwt(load: Load) -> None:
    """The log itself is the durable marker: it keeps entries for longer than any JWT can live."""
    longest = 3_600
    assert "KEYSTILE_TOKEN_TTL" in fault(load, TOKEN_TTL=f"{longest + 1}s")
    assert LOG_RETENTION.total_seconds() >= longest + CLOCKS_APART
    assert longest + CLOCKS_APART <= REMEMBERED
