from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from keystile.authority.delegating import PresentedToken
from keystile.authority.introspection import Introspection, by_key
from keystile.authority.known_jwts import KnownJwts
from keystile.claims import claims_of
from keystile.errors import CannotTellError, KeyRefusedError, RightsError, TooManyFailuresError
from keystile.records import RevocationReason
from keystile.restrictions import Policy
from unit.builders import API_AUDIENCE, DEFAULT_AUDIENCE, api_rules, asked

if TYPE_CHECKING:
    from keystile.authority.introspection import Active, ResourceServer
    from keystile.authority.lifecycle import IssuedKey
    from unit.world import Process, World

MCP, OTHER = "https://mcp.example.com/mcp", "https://other.example.com"
SERVER = Policy(scopes=("introspect",), audiences=(MCP,))
GOOD = Policy(scopes=("read", "introspect"), audiences=(OTHER, MCP))


@pytest.fixture(autouse=True)
def real_clock(world: World) -> None:
    """Begin now: PyJWT looks at the machine's own clock."""
    world.time.passed = float(int(time.time() - world.time.now().timestamp()))


def introspection(world: World, process: Process | None = None, **changes: Any) -> Introspection:  # noqa: ANN401 - fields
    process = process or world.here
    fields = {"verifier": process.verifier, "jwts": process.jwts, "exchange": world.exchange, "realm": world.realm}
    return Introspection(**{**fields, **changes})


async def server(world: World, **policy: Any) -> ResourceServer:  # noqa: ANN401 - fields of the policy
    issued = await world.issue(policy=Policy(**{"scopes": ("introspect",), "audiences": (MCP,), **policy}))
    await world.pass_time(0)
    return await introspection(world).identify(issued.key.reveal(), asked())


async def mint(world: World, issued: IssuedKey, **changes: Any) -> str:  # noqa: ANN401 - fields of the context
    context = asked(**changes)
    return (await world.exchange.mint(await world.verify(issued.key, **changes), context)).token


async def look(
    world: World, token: str, asker: ResourceServer, process: Process | None = None, *, phantom: bool = False
) -> Active | None:
    context = asked(door="introspect", is_counted=False)
    return await introspection(world, process).look(token, asker, context, phantom=phantom)


async def test_resource_server_is_what_its_key_lists_and_the_default(world: World) -> None:
    """Its own audiences come first; the management API is nobody else, whatever a list says."""
    verdict = await world.verify((await world.issue(policy=replace(SERVER, audiences=(API_AUDIENCE, MCP)))).key)
    assert by_key(verdict, api_rules()).audiences == (MCP, DEFAULT_AUDIENCE)
    assert by_key(verdict, api_rules(audiences=frozenset({OTHER}))).audiences == (DEFAULT_AUDIENCE,)


async def test_key_that_lost_the_scope_asks_no_more(world: World) -> None:
    """The scope is looked at each time."""
    verdict = await world.verify((await world.issue(policy=replace(SERVER, scopes=("read",)))).key)
    with pytest.raises(RightsError):
        by_key(verdict, api_rules())


async def test_introspection_is_no_use_of_the_token(world: World) -> None:
    """Neither a request nor a last use, nor a refusal, is counted of what is asked about."""
    asker, issued, bound = await server(world), await world.issue(policy=GOOD), await world.issue(policy=GOOD)
    token = await mint(world, issued)
    await world.tell_usage()
    before = len(world.usage.batches)
    await world.here.lifecycle.suspend(bound.record.key_id, suspended_by="test")
    for presented in (issued.key.reveal(), token, bound.key.reveal()):
        await look(world, presented, asker)
    await world.tell_usage()
    counted = [counts.key_id for batch in world.usage.batches[before:] for counts in batch.counts]
    assert not {issued.record.key_id, bound.record.key_id} & set(counted)


async def test_refusals_are_audited_with_their_reason(world: World) -> None:
    """Outside all is inactive; inside it says why, and where."""
    asker, issued = await server(world), await world.issue()
    await world.here.lifecycle.revoke(issued.record.key_id, reason=RevocationReason.KEY_COMPROMISE, revoked_by="test")
    assert await look(world, issued.key.reveal(), asker) is None
    (event,) = [event for event in world.audit.events if event.event == "revoked_key_used"]
    assert (event.key_id, event.detail["door"], event.address) == (issued.record.key_id, "introspect", "192.0.2.1")


async def test_failed_look_ups_are_the_askers(world: World) -> None:
    """A resource server that is shown unknown keys spends no failure of the address that others share."""
    asker = await server(world)
    limiter = world.here.verifier.limiter
    for _ in range(world.failures):
        assert await look(world, world.here.verifier.format.generate("live").reveal(), asker) is None
    assert await limiter.wait(asked().address) == 0
    assert await limiter.wait(f"introspect:{asker.name}") > 0
    with pytest.raises(TooManyFailuresError):
        await look(world, "x", asker)


async def test_outage_is_never_inactive(world: World) -> None:
    """A key or JWT that nobody can judge now is 503: inactive would be a lie that a gateway believes."""
    asker, issued = await server(world), await world.issue()
    token = await mint(world, await world.issue())
    world.directory.down = world.far.down = True
    for presented in (token, issued.key.reveal()):
        with pytest.raises(CannotTellError):
            await look(world, presented, asker)


@pytest.mark.parametrize("end", ["revoke", "suspend"])
async def test_end_of_a_key_is_heard_everywhere(world: World, end: str) -> None:
    """A revoked or suspended key, and its JWTs, are inactive in every process at the next read of the log."""
    asker, issued, other = await server(world), await world.issue(policy=GOOD), await world.start()
    presented = (issued.key.reveal(), await mint(world, issued))
    assert all([await look(world, each, asker, other) for each in presented])
    if end == "revoke":
        await world.here.lifecycle.revoke(issued.record.key_id, reason=RevocationReason.UNSPECIFIED, revoked_by="test")
    else:
        await world.here.lifecycle.suspend(issued.record.key_id, suspended_by="test")
    await world.pass_time(0.1)
    for process in (world.here, other):
        assert [await look(world, each, asker, process) for each in presented] == [None, None]


async def test_actors_of_a_jwt_are_told(world: World) -> None:
    """Who acts for whom stands in `act`, and is passed on as the JWT says it (RFC 8693, 4.1)."""
    asker, agent = await server(world), await world.issue(owner="agent", policy=GOOD)
    issued = await world.issue(policy=GOOD.changed({"may_act": (agent.record.key_id,)}))
    subject, actor = (PresentedToken(each.key.reveal(), is_jwt=False) for each in (issued, agent))
    _, minted = await world.delegating().issue(subject, actor, asked(audience=MCP))
    active = await look(world, minted.token, asker)
    assert active is not None
    assert active.claims["act"]["client_id"] == agent.record.key_id
    await world.here.lifecycle.suspend(agent.record.key_id, suspended_by="test")
    assert await look(world, minted.token, asker) is None


async def test_jwt_for_two_audiences_is_for_none(world: World) -> None:
    """An `aud` that merely contains the asker's is not it."""
    asker, issued = await server(world), await world.issue(policy=GOOD)
    _, claims = world.granted(await world.verify(issued.key), asked())
    assert await look(world, await world.tokens.mint({**claims, "aud": [MCP, OTHER]}), asker) is None


async def test_phantom_jwt_outlives_nothing(world: World) -> None:
    """It ends with its key, and holds no reserved scope: those come by name alone."""
    ends_at = world.time.now().replace(microsecond=0) + world.exchange.ttl / 2
    asker, issued = await server(world), await world.issue(policy=GOOD, expires_at=ends_at)
    active = await look(world, issued.key.reveal(), asker, phantom=True)
    assert active is not None
    assert active.jwt is not None
    claims = world.tokens.verify(active.jwt)
    assert claims is not None
    assert (claims["exp"], claims["scope"], claims["aud"]) == (int(ends_at.timestamp()), "read", MCP)


async def test_client_of_the_realm_asks_for_its_audiences_alone(world: World) -> None:
    """A client that `KEYSTILE_RESOURCE_SERVERS` names sees what it is named with, not the default audience."""
    world.realm.clients["eyJ.client.token"] = "gateway"
    asking = introspection(world, clients={"gateway": (OTHER,)})
    asker = await asking.identify("eyJ.client.token", asked(client_id="gateway"))
    issued, plain = await world.issue(policy=GOOD), await world.issue()
    active = await look(world, issued.key.reveal(), asker)
    assert active is not None
    assert active.claims["aud"] == OTHER
    assert await look(world, plain.key.reveal(), asker) is None
    assert await look(world, await mint(world, issued, audience=MCP), asker) is None


@pytest.mark.parametrize(
    ("token", "client_id"), [("eyJ.other.token", None), ("eyJ.user.token", None), ("eyJ.client.token", "x")]
)
async def test_other_tokens_of_the_realm_ask_nothing(world: World, token: str, client_id: str | None) -> None:
    """A client that is not named, a token of a user, or a name that is not the token's, is 401."""
    world.realm.clients |= {"eyJ.client.token": "gateway", "eyJ.other.token": "other"}
    asking = introspection(world, clients={"gateway": (OTHER,)})
    with pytest.raises(KeyRefusedError):
        await asking.identify(token, asked(client_id=client_id))


async def test_verified_jwt_is_known_until_its_end(world: World) -> None:
    """A signature is checked once; the end of the JWT, and what the log says, each time."""
    verified: list[str] = []

    class Counted:
        issuer, mint, maker, jwks = "", world.tokens.mint, world.tokens.maker, world.tokens.jwks
        kids = frozenset({"one"})

        def verify(self, token: str) -> dict[str, Any] | None:
            verified.append(token)
            return world.tokens.verify(token)

    issued = await world.issue()
    verdict = await world.verify(issued.key)
    tokens = Counted()
    known, token = KnownJwts(tokens, clock=world.time.now, most=1), await mint(world, issued)
    claims = [known.verify(token) for _ in range(3)]
    assert claims[0] == claims[2] == world.tokens.verify(token)
    assert verified == [token]
    tokens.kids = frozenset({"another"})  # the key may have leaked, and been taken away
    assert known.verify(token) is not None
    assert verified == [token, token]
    assert known.verify(token[:-4] + "AAAA") is None
    await world.pass_time(300)
    assert known.verify(token) is None
    granted, _ = world.granted(verdict, asked())
    said = claims_of(verdict.record, verdict.owner, granted, world.tokens.issuer, world.time.now(), world.exchange.ttl)
    assert known.verify(await world.tokens.mint({**said, "iat": int(time.time())})) is not None
    assert len(known._claims) == 1  # noqa: SLF001 - that it is bounded shows nowhere else
