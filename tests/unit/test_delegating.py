"""Token exchange where keys live and die: whose key, which bounds, and what ends a JWT that somebody acts by."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from keystile.authority.alterations import Wanted
from keystile.authority.delegating import PresentedToken
from keystile.authority.revocation import Revocation
from keystile.errors import CannotTellError, KeyRefusedError, LimitReachedError, Reason
from keystile.records import RevocationReason
from keystile.restrictions import Policy
from unit.builders import DAY, DEFAULT_AUDIENCE, ISSUER, asked, death_of

if TYPE_CHECKING:
    from keystile.authority.lifecycle import IssuedKey
    from unit.world import Process, World

MCP = "https://mcp.example.com/mcp"
OTHER = "https://other.example.com"


@pytest.fixture(autouse=True)
def real_clock(world: World) -> None:
    """Begin now: PyJWT looks at the machine's own clock."""
    world.time.passed = float(int(time.time() - world.time.now().timestamp()))


@dataclass(frozen=True)
class Party:
    """Alice's key, which lets act whom it should, and two agents' keys."""

    alice: IssuedKey
    agent: IssuedKey
    helper: IssuedKey


@pytest.fixture
async def party(world: World) -> Party:
    await world.pass_time(0)
    agent = await world.issue(owner="agent", policy=Policy(scopes=("read", "write", "introspect"), audiences=(ISSUER,)))
    helper = await world.issue(owner="helper", policy=Policy(scopes=("read",), audiences=(ISSUER,)))
    policy = Policy(
        scopes=("read", "write", "sell"),
        audiences=(ISSUER, MCP, OTHER),
        may_act=(agent.record.key_id, "helper"),
        act_depth=2,
    )
    return Party(await world.issue(policy=policy), agent, helper)


def key_of(issued: IssuedKey) -> PresentedToken:
    return PresentedToken(issued.key.reveal(), is_jwt=False)


def jwt_of(text: str) -> PresentedToken:
    return PresentedToken(text, is_jwt=True)


async def exchange(
    world: World,
    subject: PresentedToken,
    actor: PresentedToken | None = None,
    process: Process | None = None,
    **changes: Any,  # noqa: ANN401 - fields of the context
) -> str:
    """Return the JWT that these two give."""
    _, minted = await world.delegating(process).issue(subject, actor, asked(**changes))
    return minted.token


async def refusal(
    world: World,
    subject: PresentedToken,
    actor: PresentedToken | None = None,
    **changes: Any,  # noqa: ANN401 - fields of the context
) -> Reason:
    with pytest.raises(KeyRefusedError) as refused:
        await exchange(world, subject, actor, **changes)
    assert world.reasons()[-1] == refused.value.reason
    return refused.value.reason


async def at_verify(world: World, token: str, process: Process | None = None) -> Reason | None:
    """Return why the gateway's door refuses the JWT, None if it does not."""
    try:
        await (process or world.here).jwts.verify(token, asked(at_gateway=True))
    except KeyRefusedError as refused:
        return refused.reason
    return None


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


async def minted(world: World, issued: IssuedKey, audience: str = ISSUER, **changes: Any) -> PresentedToken:  # noqa: ANN401 - fields of the context
    """Return a JWT of that key, as client_credentials gives it."""
    context = asked(audience=audience, **changes)
    verdict = await world.here.verifier.verify(issued.key.reveal(), context)
    return jwt_of((await world.exchange.mint(verdict, context)).token)


async def test_a_jwt_says_whose_it_is_and_who_acts(world: World, party: Party) -> None:
    """`sub` and `client_id` are the subject's, `act` the agent's owner and key (RFC 8693, section 4.1)."""
    claims = claims_of(await exchange(world, key_of(party.alice), key_of(party.agent), audience=MCP))
    assert (claims["sub"], claims["client_id"]) == (party.alice.owner.id, party.alice.record.key_id)
    assert claims["act"] == {"sub": party.agent.owner.id, "client_id": party.agent.record.key_id, "gen": 1}
    assert (claims["aud"], claims["scope"]) == (MCP, "read write")


async def test_without_an_actor_nobody_acts(world: World, party: Party) -> None:
    """A key exchanged by itself gives what client_credentials would."""
    claims = claims_of(await exchange(world, key_of(party.alice)))
    assert "act" not in claims
    assert (claims["aud"], claims["scope"]) == (DEFAULT_AUDIENCE, "read write sell")


async def test_whoever_is_not_named_may_not_act(world: World, party: Party) -> None:
    """A good key of somebody who is not on the list is refused, and so is everybody where there is none."""
    stranger = await world.issue(owner="stranger", policy=Policy(scopes=("read",)))
    plain = await world.issue(owner="bob", policy=Policy(scopes=("read",)))
    assert await refusal(world, key_of(party.alice), key_of(stranger)) is Reason.ACTOR_DENIED
    assert await refusal(world, key_of(plain), key_of(party.agent)) is Reason.ACTOR_DENIED
    assert await refusal(world, key_of(party.agent), key_of(party.agent)) is Reason.ACTOR_DENIED


async def test_scopes_are_those_that_both_hold(world: World, party: Party) -> None:
    """An agent gets nothing its own key lacks, and nothing the owner's lacks, asked for by name or not."""
    alice, helper = key_of(party.alice), key_of(party.helper)
    assert claims_of(await exchange(world, alice, helper))["scope"] == "read"
    assert await refusal(world, alice, helper, scopes=("write",)) is Reason.SCOPE_DENIED
    assert await refusal(world, alice, key_of(party.agent), scopes=("introspect",)) is Reason.SCOPE_DENIED
    bare = await world.issue(owner="helper", policy=Policy())
    assert "scope" not in claims_of(await exchange(world, alice, key_of(bare)))


@pytest.mark.parametrize("shortest", ["subject", "actor"])
async def test_a_jwt_ends_with_the_first_of_its_keys(world: World, party: Party, shortest: str) -> None:
    """`exp` is at most the end of the subject's key and of the actor's."""
    ends_at = world.time.now() + timedelta(seconds=60)
    policy = party.alice.record.policy
    short = await world.issue(owner="helper", policy=policy, expires_at=ends_at)
    subject, actor = (short, party.agent) if shortest == "subject" else (party.alice, short)
    claims = claims_of(await exchange(world, key_of(subject), key_of(actor)))
    assert claims["exp"] == int(ends_at.timestamp())


async def test_a_jwt_made_from_a_jwt_is_no_younger_and_lives_no_longer(world: World, party: Party) -> None:
    """Exchanged a minute later, a JWT ends when it would have ended, and is as old: so a sign-out kills both."""
    first = await minted(world, party.alice)
    acting = await minted(world, party.agent)
    world.time.passed += 60
    await world.pass_time(0)
    old, acts = claims_of(first.text), claims_of(acting.text)
    made = claims_of(await exchange(world, first, acting))
    assert (made["exp"], made["iat"]) == (min(old["exp"], acts["exp"]), min(old["iat"], acts["iat"]))
    for subject, actor in ((first, key_of(party.agent)), (key_of(party.alice), acting)):
        made = claims_of(await exchange(world, subject, actor))
        assert (made["exp"], made["iat"]) == (old["exp"], old["iat"])


async def test_a_jwt_gives_no_more_scopes_than_it_has(world: World, party: Party) -> None:
    """Narrowed once, a JWT stays narrow, whatever its key holds."""
    narrow = await minted(world, party.alice, scopes=("read",))
    assert claims_of(await exchange(world, narrow))["scope"] == "read"
    assert claims_of(await exchange(world, narrow, key_of(party.agent)))["scope"] == "read"
    assert await refusal(world, narrow, scopes=("write",)) is Reason.SCOPE_DENIED
    acting = await minted(world, party.agent, scopes=("write",))
    assert claims_of(await exchange(world, key_of(party.alice), acting))["scope"] == "write"
    assert await refusal(world, key_of(party.alice), acting, scopes=("read",)) is Reason.SCOPE_DENIED


async def test_what_a_test_key_had_a_part_in_is_for_tests(world: World, party: Party) -> None:
    """A JWT by which a test key acts says `env: test`, and so does whatever is made from it."""
    tester = await world.issue(owner="helper", policy=Policy(scopes=("read",)), environment="test")
    token = await exchange(world, key_of(party.alice), key_of(tester), audience=ISSUER)
    assert claims_of(token)["env"] == claims_of(await exchange(world, jwt_of(token)))["env"] == "test"
    assert claims_of(await exchange(world, key_of(party.alice), key_of(party.agent)))["env"] == "live"


@pytest.mark.parametrize("audience", [MCP, DEFAULT_AUDIENCE])
async def test_a_jwt_for_a_server_is_worth_nothing_here(world: World, party: Party, audience: str) -> None:
    """What was made for somebody else mints nothing, alone, with an actor, or as an actor."""
    token = await minted(world, party.alice, audience)
    assert await refusal(world, token) is Reason.JWT_INVALID
    assert await refusal(world, token, key_of(party.agent)) is Reason.JWT_INVALID
    acting = await minted(world, party.agent, DEFAULT_AUDIENCE)
    assert await refusal(world, key_of(party.alice), acting) is Reason.JWT_INVALID


async def test_a_jwt_for_us_is_worth_nothing_elsewhere(world: World, party: Party) -> None:
    """At the gateway's door, and at the management API, a JWT for the issuer is no credential."""
    token = await minted(world, party.alice)
    assert await at_verify(world, token.text) is Reason.JWT_INVALID
    for audience in (f"{ISSUER}/api/v1", MCP):
        with pytest.raises(KeyRefusedError):
            await world.here.jwts.verify(token.text, asked(audience=audience))


async def test_a_key_gets_jwts_for_us_only_if_its_list_says_so(world: World) -> None:
    """The issuer is an audience like others: not on the list, not to be had."""
    plain = await world.issue(policy=Policy(audiences=(MCP,)))
    with pytest.raises(KeyRefusedError) as refused:
        await world.verify(plain.key, audience=ISSUER)
    assert refused.value.reason is Reason.AUDIENCE_DENIED


async def test_a_server_exchanges_what_was_made_for_it(world: World, party: Party) -> None:
    """A JWT that names the server whose key acts is exchanged by that server alone (RFC 8693, section 1.1)."""
    server = await world.issue(owner="helper", policy=Policy(scopes=("read", "introspect"), audiences=(MCP,)))
    token = await minted(world, party.alice, MCP)
    claims = claims_of(await exchange(world, token, key_of(server), audience=OTHER))
    assert (claims["aud"], claims["act"]["client_id"]) == (OTHER, server.record.key_id)
    client = await world.issue(owner="helper", policy=Policy(scopes=("read",), audiences=(MCP,)))
    elsewhere = await world.issue(owner="helper", policy=Policy(scopes=("read", "introspect"), audiences=(OTHER,)))
    for acting in (client, elsewhere):  # a mere client of that server, and another server
        assert await refusal(world, token, key_of(acting)) is Reason.JWT_INVALID


async def test_a_server_s_key_does_not_take_the_default_audience_for_its_name(world: World, party: Party) -> None:
    """Every gateway gets JWTs for the default audience; no one of them owns it."""
    policy = Policy(scopes=("read", "introspect"), audiences=(DEFAULT_AUDIENCE,))
    server = await world.issue(owner="helper", policy=policy)
    token = await minted(world, party.alice, DEFAULT_AUDIENCE)
    assert await refusal(world, token, key_of(server)) is Reason.JWT_INVALID


async def chained(world: World, party: Party, audience: str | None = None) -> str:
    """Return a JWT of alice's by which the helper acts for the agent."""
    first = await exchange(world, key_of(party.alice), key_of(party.agent), audience=ISSUER)
    return await exchange(world, jwt_of(first), key_of(party.helper), audience=audience)


async def test_a_chain_is_nested_and_its_first_word_is_who_asks(world: World, party: Party) -> None:
    """Each that acts stands inside who acts next (RFC 8693, section 4.1)."""
    claims = claims_of(await chained(world, party))
    outer, inner = claims["act"], claims["act"]["act"]
    assert (outer["sub"], outer["client_id"]) == (party.helper.owner.id, party.helper.record.key_id)
    assert (inner["sub"], inner["client_id"], "act" in inner) == (
        party.agent.owner.id,
        party.agent.record.key_id,
        False,
    )
    assert (claims["sub"], claims["scope"]) == (party.alice.owner.id, "read")


async def test_a_chain_without_a_new_actor_keeps_who_acts(world: World, party: Party) -> None:
    """Exchanging a JWT does not wash off who acts by it."""
    first = await exchange(world, key_of(party.alice), key_of(party.agent), audience=ISSUER)
    claims = claims_of(await exchange(world, jwt_of(first), audience=MCP))
    assert claims["act"] == claims_of(first)["act"]


async def test_a_chain_is_no_longer_than_the_owner_lets_it_be(world: World, party: Party) -> None:
    """One more actor than the policy says is refused."""
    chain = await chained(world, party, ISSUER)
    assert await refusal(world, jwt_of(chain), key_of(party.agent)) is Reason.CHAIN_TOO_LONG


async def test_who_acts_for_somebody_is_no_actor_itself(world: World, party: Party) -> None:
    """A JWT by which another acts proves nothing about its subject's wish to act."""
    policy = Policy(scopes=("read",), audiences=(ISSUER,), may_act=(party.helper.record.key_id,))
    agent = await world.issue(owner="agent", policy=policy)
    acted = await exchange(world, key_of(agent), key_of(party.helper), audience=ISSUER)
    assert await refusal(world, key_of(party.alice), jwt_of(acted)) is Reason.ACTOR_DENIED


@pytest.mark.parametrize("who", ["alice", "agent", "helper"])
@pytest.mark.parametrize("how", ["revoked", "suspended", "owner disabled", "told"])
async def test_the_end_of_any_key_ends_the_chain(world: World, party: Party, who: str, how: str) -> None:
    """Whichever key of a chain ends, its JWT is refused in every process, and mints nothing."""
    token, for_us = await chained(world, party), await chained(world, party, ISSUER)
    other = await world.start()
    assert await at_verify(world, token) is await at_verify(world, token, other) is None
    issued: IssuedKey = getattr(party, who)
    key_id, owner_id = issued.record.key_id, issued.owner.id
    if how == "revoked":
        await world.here.lifecycle.revoke(key_id, reason=RevocationReason.UNSPECIFIED, revoked_by="test")
    elif how == "suspended":
        await world.here.lifecycle.suspend(key_id, suspended_by="test")
    elif how == "owner disabled":
        await world.store.set_enabled(owner_id, enabled=False)
        for process in world.processes:
            process.memory.overhear([owner_id])
    else:
        await world.log.append(death_of(key_id))
    await world.pass_time(0.1)
    assert await at_verify(world, token) is not None
    assert await at_verify(world, token, other) is not None
    await refusal(world, jwt_of(for_us))


@pytest.mark.parametrize("who", ["agent", "helper"])
async def test_sign_out_of_any_owner_ends_the_chain(world: World, party: Party, who: str) -> None:
    """A JWT issued before "sign out everywhere" of whoever acts is dead."""
    token = await chained(world, party)
    issued: IssuedKey = getattr(party, who)
    planted = await world.store.owner(issued.owner.id)
    assert planted is not None
    not_before = int(world.time.now().timestamp())
    world.directory.planted_owners[planted.id] = type(planted)(
        id=planted.id, username=planted.username, records=planted.records, not_before=not_before
    )
    world.here.memory.overhear([planted.id])
    assert await at_verify(world, token) is Reason.JWT_KILLED


async def test_an_owner_who_takes_its_word_back_ends_the_chain(world: World, party: Party) -> None:
    """Whoever is taken off the list acts no more, by JWTs of before either."""
    token = await exchange(world, key_of(party.alice), key_of(party.agent))
    wanted = Wanted(policy={"may_act": ("helper",)})
    await world.here.alterations.alter(party.alice.record.key_id, wanted, by="test")
    await world.pass_time(0.1)
    assert await at_verify(world, token) is Reason.JWT_KILLED
    assert await refusal(world, key_of(party.alice), key_of(party.agent)) is Reason.ACTOR_DENIED


@pytest.mark.parametrize("rotated", ["alice", "agent"])
@pytest.mark.parametrize("form", ["key", "JWT"])
async def test_what_an_earlier_secret_gave_ends_with_its_grace(
    world: World, party: Party, rotated: str, form: str
) -> None:
    """An old secret mints, by itself or by a JWT, what ends with it: not what its new secret gives."""
    tokens = {
        name: key_of(issued) if form == "key" else await minted(world, issued)
        for name, issued in (("alice", party.alice), ("agent", party.agent))
    }
    issued: IssuedKey = getattr(party, rotated)
    await world.here.alterations.rotate(issued.record.key_id, grace=timedelta(seconds=30), by="test")
    await world.pass_time(0.1)
    token = await exchange(world, tokens["alice"], tokens["agent"])
    assert await at_verify(world, token) is None
    await world.pass_time(31)
    assert await at_verify(world, token) is Reason.JWT_KILLED
    await refusal(world, tokens["alice"], tokens["agent"])


async def test_an_actor_s_own_policy_counts_wherever_its_jwt_is_used(world: World, party: Party) -> None:
    """An agent's key that is bound to addresses acts from there alone, at this door and at the gateway's."""
    bound = await world.issue(owner="helper", policy=Policy(scopes=("read",), allowed_ips=("198.51.100.0/24",)))
    assert await refusal(world, key_of(party.alice), key_of(bound)) is Reason.POLICY_UNVERIFIABLE
    token = await exchange(world, key_of(party.alice), key_of(party.helper))
    wanted = Wanted(policy={"allowed_ips": ("198.51.100.0/24",)})
    await world.here.alterations.alter(party.helper.record.key_id, wanted, by="test")
    await world.pass_time(0.1)
    assert await at_verify(world, token) is not None


async def test_an_exchange_counts_for_the_subject_alone(world: World, party: Party) -> None:
    """The subject's limit is spent by exchanges that succeed, the actor's by none; spent, it is a 429."""
    policy = party.alice.record.policy.changed({"requests_per_day": 2})
    limited = await world.issue(owner="bob", policy=policy)
    acting = await world.issue(owner="helper", policy=Policy(scopes=("read",), requests_per_day=1))
    stranger = await world.issue(owner="stranger", policy=Policy(scopes=("read",)))
    for _ in range(3):
        assert await refusal(world, key_of(limited), key_of(stranger)) is Reason.ACTOR_DENIED
    for _ in range(2):
        await exchange(world, key_of(limited), key_of(acting))
    with pytest.raises(LimitReachedError):
        await exchange(world, key_of(limited), key_of(acting))
    await world.verify(acting.key)


async def test_nobody_to_ask_is_no_refusal(world: World, party: Party) -> None:
    """While the directory is away, keys that are in no cache are "cannot tell", and never a refusal."""
    world.directory.down = True
    for pair in ((party.alice, party.agent), (party.alice, None)):
        subject, actor = pair
        with pytest.raises(CannotTellError):
            await exchange(world, key_of(subject), None if actor is None else key_of(actor))


async def test_each_record_of_a_chain_is_read_once(world: World, party: Party) -> None:
    """A process that meets a chain for the first time reads the record of every key in it, and then knows them."""
    token = await chained(world, party)
    late = await world.start()
    reads = len(world.directory.reads)
    assert await at_verify(world, token, late) is None
    assert len(world.directory.reads) == reads + 3
    assert await at_verify(world, token, late) is None
    assert len(world.directory.reads) == reads + 3


async def test_the_audit_tells_the_whole_chain(world: World, party: Party) -> None:
    """Whoever reads the audit log sees for each exchange and each use who acted, the one who asked first."""
    token = await chained(world, party)
    await at_verify(world, token)
    chain = [party.helper.record.key_id, party.agent.record.key_id]
    told = [event for event in world.audit.events if event.detail.get("act") == chain]
    assert [event.event for event in told] == ["exchange", "delegated"]
    assert told[1].actor == f"key:{chain[0]}"
    assert {event.key_id for event in told} == {party.alice.record.key_id}
    await world.here.lifecycle.revoke(chain[1], reason=RevocationReason.UNSPECIFIED, revoked_by="test")
    assert await at_verify(world, token) is Reason.JWT_KILLED
    refused = world.audit.events[-1]
    assert (refused.key_id, refused.detail["act"]) == (chain[1], chain)
    assert party.alice.key.reveal() not in repr(world.audit.events)


async def test_a_key_that_has_expired_exchanges_nothing(world: World, party: Party) -> None:
    """An end is an end for the one who acts, too."""
    short = await world.issue(owner="helper", policy=Policy(scopes=("read",)), expires_at=world.time.now() + DAY)
    await world.pass_time(DAY.total_seconds() + 1)
    assert await refusal(world, key_of(party.alice), key_of(short)) is Reason.EXPIRED


async def test_a_jwt_that_was_revoked_by_itself_exchanges_nothing(world: World, party: Party) -> None:
    """RFC 7009 beside RFC 8693: it is worth nothing as the subject, nor as the actor, while its key lives on."""
    revocation = Revocation(jwts=world.here.jwts, alterations=world.here.alterations)
    subject, actor = await minted(world, party.alice), await minted(world, party.agent)
    assert await exchange(world, subject, actor, audience=MCP)
    for issued, token in ((party.alice, subject), (party.agent, actor)):
        verdict = await world.verify(issued.key)
        await revocation.revoke(token.text, issued.key.reveal(), verdict, asked())
    assert await refusal(world, subject, key_of(party.agent), audience=MCP) is Reason.JWT_KILLED
    assert await refusal(world, key_of(party.alice), actor, audience=MCP) is Reason.JWT_KILLED
    assert await exchange(world, key_of(party.alice), key_of(party.agent), audience=MCP)
