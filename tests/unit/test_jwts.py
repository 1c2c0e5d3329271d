from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from keystile.changes import Change, Floor
from keystile.claims import Grant, claims_of
from keystile.errors import CannotTellError, KeyRefusedError, Reason
from keystile.records import RevocationReason
from keystile.restrictions import Policy
from unit.builders import DEFAULT_AUDIENCE, asked, death_of

if TYPE_CHECKING:
    from keystile.authority.jwts import PresentedJwt
    from keystile.authority.lifecycle import IssuedKey
    from keystile.records import Owner
    from unit.world import Process, World


@pytest.fixture(autouse=True)
def real_clock(world: World) -> None:
    """Begin now: PyJWT looks at the machine's own clock."""
    world.time.passed = float(int(time.time() - world.time.now().timestamp()))


async def mint(world: World, issued: IssuedKey, **changes: Any) -> str:  # noqa: ANN401 - fields of the context
    await world.pass_time(0)
    context = asked(**changes)
    verdict = await world.here.verifier.verify(issued.key.reveal(), context)
    return (await world.exchange.mint(verdict, context)).token


async def check(world: World, token: str, process: Process | None = None, **changes: Any) -> PresentedJwt:  # noqa: ANN401 - fields of the context
    return await (process or world.here).jwts.verify(token, asked(**changes))


async def reason_of(world: World, token: str, process: Process | None = None, **changes: Any) -> Reason:  # noqa: ANN401 - fields of the context
    with pytest.raises(KeyRefusedError) as refused:
        await check(world, token, process, **changes)
    return refused.value.reason


async def test_our_jwt_passes_unchanged(world: World) -> None:
    """A JWT made for this door is passed on as it is, with the verdict on its key."""
    issued = await world.issue(policy=Policy(scopes=("read",)))
    token = await mint(world, issued)
    presented = await check(world, token)
    assert presented.text is token
    assert (presented.claims["scope"], presented.claims["client_id"]) == ("read", issued.record.key_id)
    assert (presented.verdict.record, presented.verdict.owner.username) == (issued.record.pared(), "alice")


async def test_jwt_for_another_audience_is_refused(world: World) -> None:
    """A JWT made for somebody else is not passed on, though ours."""
    resource = "https://mcp.example.com/mcp"
    token = await mint(world, await world.issue(policy=Policy(audiences=(resource,))), audience=resource)
    assert await reason_of(world, token) is Reason.JWT_INVALID
    assert (await check(world, token, audience=resource)).claims["aud"] == resource


async def test_audience_must_be_exactly_the_doors(world: World) -> None:
    """An `aud` that merely contains the door's audience is not it."""
    issued = await world.issue()
    verdict = await world.verify(issued.key)
    granted = Grant(DEFAULT_AUDIENCE, ())
    now, issuer = world.time.now(), world.tokens.issuer
    claims = claims_of(verdict.record, verdict.owner, granted, issuer, now, world.exchange.ttl)
    token = await world.tokens.mint({**claims, "aud": [DEFAULT_AUDIENCE, "https://other.example.com"]})
    assert await reason_of(world, token) is Reason.JWT_INVALID


async def test_rubbish_is_refused_without_io(world: World) -> None:
    """What is no JWT of ours costs no look-up."""
    for token in ("", "eyJ.eyJ.x", "a.b.c", "eyJ" + "A" * 8_000 + ".e30.c2ln"):
        assert await reason_of(world, token) is Reason.JWT_INVALID
    assert not world.directory.reads


async def test_jwt_of_a_revoked_key_is_refused_everywhere(world: World) -> None:
    """A revoke reaches the JWTs already handed out, in every process that heard it."""
    issued, other = await world.issue(), await world.start()
    token = await mint(world, issued)
    await check(world, token, other)
    await world.here.lifecycle.revoke(issued.record.key_id, reason=RevocationReason.UNSPECIFIED, revoked_by="test")
    await world.pass_time(0.1)
    for process in (world.here, other, await world.start()):
        assert await reason_of(world, token, process) is Reason.JWT_KILLED


async def test_jwt_below_a_kill_is_refused_and_above_it_is_not(world: World) -> None:
    """A kill of lower generations spares JWTs of the generation it names."""
    issued = await world.issue()
    token = await mint(world, issued)
    await world.log.append(Change(key_id=issued.record.key_id, kills_below=1, at=world.time.now().timestamp()))
    await world.pass_time(0.1)
    await check(world, token)
    await world.log.append(Change(key_id=issued.record.key_id, kills_below=2, at=world.time.now().timestamp()))
    await world.pass_time(0.1)
    assert await reason_of(world, token) is Reason.JWT_KILLED


async def test_jwt_below_its_floor_is_refused(world: World) -> None:
    """A process that was started after the log forgot the kill still meets the floor."""
    issued = await world.issue()
    token = await mint(world, issued)
    world.log.floors[issued.record.key_id] = Floor(key_id=issued.record.key_id, gen=2, dead=True, until=4e9)
    late = await world.start()
    assert await reason_of(world, token, late) is Reason.REVOKED


async def test_jwt_of_a_vanished_key_is_refused(world: World) -> None:
    """If owner or record is gone, so is what was handed out."""
    issued = await world.issue()
    token = await mint(world, issued)
    await world.store.update(issued.owner.id, lambda owner: type(owner)(id=owner.id, username=owner.username))
    assert await reason_of(world, token) is Reason.UNKNOWN


async def test_jwt_is_judged_like_its_key(world: World) -> None:
    """Whatever the record says now counts: a disabled owner's JWT is refused, and so is another client's name."""
    issued = await world.issue()
    token = await mint(world, issued)
    assert await reason_of(world, token, client_id="somebody") is Reason.ID_MISMATCH
    await world.store.set_enabled(issued.owner.id, enabled=False)
    await world.here.follower.announce(Change(owner_id=issued.owner.id, at=world.time.now().timestamp()))
    assert await reason_of(world, token) is Reason.OWNER_DISABLED


async def test_known_jwt_costs_no_look_up(world: World) -> None:
    """The second JWT of a key is judged by the record read for the first, until the log names it."""
    issued = await world.issue()
    for _ in range(3):
        await check(world, await mint(world, issued))
    assert len(world.directory.reads) == 1
    await world.here.follower.announce(Change(key_id=issued.record.key_id))
    await check(world, await mint(world, issued))
    assert len(world.directory.reads) == 2


async def test_many_callers_make_one_read(world: World) -> None:
    """32 requests with JWTs of one key wait for the same read."""
    issued = await world.issue()
    token = await mint(world, issued)
    world.directory.hold()
    callers = [asyncio.create_task(check(world, token)) for _ in range(32)]
    await world.directory.read_done.wait()
    world.directory.may_answer.set()
    assert len(await asyncio.gather(*callers)) == 32
    assert len(world.directory.reads) == 1


async def test_outage_is_never_a_refusal(world: World) -> None:
    """A JWT whose key nobody can read now is neither passed on nor refused."""
    token = await mint(world, await world.issue())
    world.directory.down = True
    with pytest.raises(CannotTellError):
        await check(world, token)


async def test_known_jwt_passes_through_an_outage(world: World) -> None:
    """What was read before goes on counting while the directory is down, but not against the log."""
    issued = await world.issue()
    token = await mint(world, issued)
    await check(world, token)
    world.directory.down = True
    await world.pass_time(1_000.0)  # beyond the freshness of what was read; `exp` is judged by the machine's clock
    await check(world, token)
    await world.log.append(death_of(issued.record.key_id))
    await world.pass_time(0.1)
    assert await reason_of(world, token) is Reason.JWT_KILLED


@pytest.mark.parametrize(("seconds", "dead"), [(-1, False), (0, True), (1, True)])
async def test_sign_out_kills_what_was_issued_in_its_second(
    world: World, monkeypatch: pytest.MonkeyPatch, seconds: int, *, dead: bool
) -> None:
    """Keycloak tells the sign-out in whole seconds: a JWT of that second may be from before it."""
    issued = await world.issue()
    token = await mint(world, issued)
    read = world.directory.owner

    async def signed_out(owner_id: str) -> Owner | None:
        owner = await read(owner_id)
        return owner and replace(owner, not_before=int(world.time.now().timestamp()) + seconds)

    monkeypatch.setattr(world.directory, "owner", signed_out)
    if dead:
        assert await reason_of(world, token) is Reason.JWT_KILLED
    else:
        assert (await check(world, token)).text is token
