from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import jwt
import pytest

from keystile.authority.delegating import Delegating, PresentedToken
from keystile.changes import Change
from keystile.claims import MAX_JWT
from keystile.delegation import Actor
from keystile.errors import CannotTellError, KeyRefusedError, Reason, RequestError
from keystile.restrictions import Policy
from unit.builders import DEFAULT_AUDIENCE, NOW, asked, death_of, rules
from unit.realm_world import MCP, RealmProcess, RealmWorld

if TYPE_CHECKING:
    from keystile.ports import SignedToken
    from unit.world import World


@pytest.fixture
def realm(world: World) -> RealmWorld:
    return RealmWorld.of(world)


@pytest.fixture
def here(realm: RealmWorld) -> RealmProcess:
    return realm.join()


async def test_token_is_for_what_was_asked(realm: RealmWorld, here: RealmProcess) -> None:
    """Audience and scopes are those of the request, the owner is `sub`, and its life is the realm's word."""
    issued = await realm.issue()
    minted = await realm.mint(here, issued, audience=MCP, scopes=("read",))
    claims = jwt.decode(minted.token, options={"verify_signature": False})
    assert (claims["sub"], claims["aud"], claims["scope"]) == (issued.owner.id, MCP, "read")
    assert (minted.granted.audience, minted.granted.scopes, minted.expires_in) == (MCP, ("read",), 300)
    plain = await realm.mint(here, issued)
    assert (plain.granted.audience, plain.granted.scopes) == (DEFAULT_AUDIENCE, ("read", "write"))


async def test_token_is_kept_for_half_of_its_life(realm: RealmWorld, here: RealmProcess) -> None:
    """The same key, audience and scopes get the same token for a while, then another; `expires_in` tells its rest."""
    issued = await realm.issue()
    first = await realm.mint(here, issued)
    await realm.world.pass_time(149)
    again = await realm.mint(here, issued)
    assert (again.token, again.expires_in, realm.signer.signed) == (first.token, 151, 1)
    assert again.reusable_until == NOW.timestamp() + 150
    await realm.world.pass_time(2)
    assert (await realm.mint(here, issued)).token != first.token


async def test_token_is_for_one_key_audience_and_scope(realm: RealmWorld, here: RealmProcess) -> None:
    """What was kept for one is never given to another, not even to the other key of an owner."""
    one, other = await realm.issue(), await realm.issue()
    minted = [
        await realm.mint(here, one),
        await realm.mint(here, other),
        await realm.mint(here, one, audience=MCP),
        await realm.mint(here, one, scopes=("read",)),
    ]
    assert len({each.token for each in minted}) == realm.signer.signed == 4


async def test_many_who_ask_at_once_ask_the_realm_once(realm: RealmWorld, here: RealmProcess) -> None:
    """A burst of requests of one key is one token, and one question to Keycloak."""
    issued = await realm.issue()
    minted = await asyncio.gather(*(realm.mint(here, issued) for _ in range(20)))
    assert len({each.token for each in minted}) == realm.signer.signed == 1


async def test_realm_away_leaves_what_is_valid(realm: RealmWorld, here: RealmProcess) -> None:
    """Keycloak down: a kept token while it lives, and nothing else: whoever has none is told to come again."""
    issued = await realm.issue()
    first = await realm.mint(here, issued)
    realm.signer.down = True
    await realm.world.pass_time(200)
    again = await realm.mint(here, issued)
    assert (again.token, again.expires_in) == (first.token, 100)
    assert again.reusable_until == NOW.timestamp() + 205
    with pytest.raises(CannotTellError):
        await realm.mint(here, issued, audience=MCP)
    await realm.world.pass_time(95)
    with pytest.raises(CannotTellError):
        await realm.mint(here, issued)


async def test_token_never_outlives_its_key(realm: RealmWorld, here: RealmProcess) -> None:
    """RFC 9068 and STANDARDS: never beyond the key's own expiry. The realm's life is fixed, so the key is refused."""
    last = NOW + timedelta(minutes=8)
    issued = await realm.world.issue(expires_at=last, policy=Policy())
    assert (await realm.mint(here, issued)).expires_in == 300
    await realm.world.pass_time(179)
    minted = await realm.mint(here, issued)
    assert jwt.decode(minted.token, options={"verify_signature": False})["exp"] <= last.timestamp()
    await realm.world.pass_time(2)
    with pytest.raises(KeyRefusedError) as refused:
        await realm.mint(here, issued)
    assert refused.value.reason is Reason.EXPIRED
    assert realm.world.reasons() == ["expired"]


async def test_realm_that_gives_more_life_than_it_was_told_to(realm: RealmWorld, here: RealmProcess) -> None:
    """A lifespan that somebody raised in the console makes no token outlive a key."""
    realm.signer.ttl = 3600
    issued = await realm.world.issue(expires_at=NOW + timedelta(minutes=30), policy=Policy())
    with pytest.raises(KeyRefusedError) as refused:
        await realm.mint(here, issued)
    assert refused.value.reason is Reason.EXPIRED


async def test_grace_of_a_rotated_secret_bounds_its_tokens(realm: RealmWorld, here: RealmProcess) -> None:
    """In the last minutes of its grace an old secret gets nothing more, and the new one does."""
    issued = await realm.issue()
    rotated = await here.process.alterations.rotate(issued.record.key_id, grace=timedelta(minutes=4), by="test")
    with pytest.raises(KeyRefusedError):
        await realm.mint(here, issued)
    verdict = await here.process.verifier.verify(rotated.key.reveal(), asked())
    assert (await here.exchange.mint(verdict, asked())).expires_in == 300


@pytest.mark.parametrize(
    ("asked_for", "reason"),
    [({"audience": "https://unmapped.example.com"}, Reason.AUDIENCE_DENIED), ({"scopes": ("x",)}, Reason.SCOPE_DENIED)],
)
async def test_what_the_realm_does_not_know_is_refused(
    realm: RealmWorld, here: RealmProcess, asked_for: dict[str, object], reason: Reason
) -> None:
    """An audience or a scope without a client scope is refused and audited, though the key has it."""
    issued = await realm.issue(scopes=("read", "x"), audiences=("https://unmapped.example.com",))
    with pytest.raises(KeyRefusedError) as refused:
        await realm.mint(here, issued, **{"scopes": ("read",), **asked_for})
    assert (refused.value.reason, refused.value.key_id) == (reason, issued.record.key_id)
    assert realm.world.reasons() == [reason.value]


async def test_token_that_no_header_could_carry_is_refused(
    realm: RealmWorld, here: RealmProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mapper of the realm makes it more than 4 KB: refused as where we sign ourselves, and handed to nobody."""
    told = realm.signer.sign

    async def sign_at_length(owner_id: str, audience: str, scopes: tuple[str, ...]) -> SignedToken:
        token = await told(owner_id, audience, scopes)
        return replace(token, text=token.text + "x" * MAX_JWT)

    monkeypatch.setattr(realm.signer, "sign", sign_at_length)
    issued = await realm.issue()
    with pytest.raises(KeyRefusedError) as refused:
        await realm.mint(here, issued)
    assert refused.value.reason is Reason.JWT_TOO_LARGE
    assert realm.world.reasons() == ["jwt_too_large"]
    assert await realm.store.of(issued.record.key_id, realm.world.time.now().timestamp()) == ()


async def test_gateway_hears_of_a_bad_key_only(realm: RealmWorld, here: RealmProcess) -> None:
    """A gateway cannot ask for less: to it a key with a scope the realm does not know is refused like any other."""
    issued = await realm.issue(scopes=("read", "x"))
    with pytest.raises(KeyRefusedError) as refused:
        await realm.mint(here, issued, at_gateway=True)
    assert refused.value.reason is Reason.POLICY_UNVERIFIABLE
    assert realm.world.reasons() == ["scope_denied"]


async def test_owner_the_realm_refuses_is_disabled_to_us(realm: RealmWorld, here: RealmProcess) -> None:
    """What Keycloak says of an owner before its event reached us counts, and is audited with the key's id."""
    issued = await realm.issue()
    realm.signer.out.add(issued.owner.id)
    with pytest.raises(KeyRefusedError) as refused:
        await realm.mint(here, issued)
    assert (refused.value.reason, refused.value.owner) == (Reason.OWNER_DISABLED, "alice")
    assert realm.world.reasons() == ["owner_disabled"]


@pytest.mark.parametrize(
    "policy",
    [
        {"projects": ("atlas",)},
        {"max_tokens_per_request": 100},
        {"max_concurrent_requests": 1},
        {"capabilities": ({"resource": "db", "actions": ["read"]},)},
    ],
)
async def test_what_a_token_of_the_realm_cannot_say_is_refused(
    realm: RealmWorld, here: RealmProcess, policy: dict[str, object]
) -> None:
    """A restriction that the service was to read from the JWT is never dropped in silence."""
    issued = await realm.issue(**policy)
    with pytest.raises(KeyRefusedError) as refused:
        await realm.mint(here, issued)
    assert refused.value.reason is Reason.POLICY_UNVERIFIABLE


async def test_a_tenant_s_default_is_not_dropped_either(realm: RealmWorld, here: RealmProcess) -> None:
    """The same where the deployment says it for the whole tenant."""
    told = rules(tenant_defaults={"acme": Policy(max_tokens_per_request=8000)})
    issued = await realm.issue(tenant="acme")
    assert (await realm.mint(here, issued)).token
    verdict = await here.process.verifier.verify(issued.key.reveal(), asked(told))
    with pytest.raises(KeyRefusedError):
        await here.exchange.mint(verdict, asked(told))


async def test_test_keys_and_actors_are_refused(realm: RealmWorld, here: RealmProcess) -> None:
    """Neither can be said in a token of the realm."""
    agent = await realm.issue()
    issued = await realm.issue(may_act=(agent.record.key_id,))
    with pytest.raises(RequestError):
        await realm.mint(here, issued, actors=(Actor(agent.record.key_id, agent.owner.id, 1),))
    subject, actor = (PresentedToken(each.key.reveal(), is_jwt=False) for each in (issued, agent))
    verifier = here.process.verifier
    delegating = Delegating(verifier=verifier, jwts=here.process.jwts, exchange=here.exchange)
    with pytest.raises(RequestError):
        await delegating.issue(subject, actor, asked())
    _, minted = await delegating.issue(subject, None, asked())
    assert minted.token == (await realm.mint(here, issued)).token, "a key for itself gets what it always gets"
    test_key = await realm.world.issue(environment="test")
    with pytest.raises(KeyRefusedError) as refused:
        await realm.mint(here, test_key)
    assert refused.value.reason is Reason.TEST_KEY


async def test_signed_out_owner_gets_a_new_token(realm: RealmWorld, here: RealmProcess) -> None:
    """A token from before "sign out all" is dead at the realm, and is not handed out again."""
    issued = await realm.issue()
    first = await realm.mint(here, issued)
    verdict = await here.process.verifier.verify(issued.key.reveal(), asked())
    signed_out = replace(verdict, owner=replace(verdict.owner, not_before=int(NOW.timestamp()) + 1))
    realm.world.time.passed += 2
    assert (await here.exchange.mint(signed_out, asked())).token != first.token


async def test_key_that_dies_while_the_realm_is_asked(realm: RealmWorld, here: RealmProcess) -> None:
    """A revoke that overtakes the exchange wins: nobody gets the token that the realm signed meanwhile."""
    issued = await realm.issue()
    verdict = await here.process.verifier.verify(issued.key.reveal(), asked())
    here.process.memory.obey(death_of(issued.record.key_id))
    with pytest.raises(KeyRefusedError) as refused:
        await here.exchange.mint(verdict, asked())
    assert refused.value.reason is Reason.REVOKED
    assert realm.signer.signed == 1
    assert realm.world.reasons() == ["revoked"]


async def test_what_cannot_be_noted_is_not_handed_out(realm: RealmWorld, here: RealmProcess) -> None:
    """A key with too many living tokens gets none that a revoke would not find."""
    issued = await realm.issue()
    realm.store.inner = type(realm.store.inner)(most=1)
    assert (await realm.mint(here, issued)).token
    with pytest.raises(CannotTellError):
        await realm.mint(here, issued, audience=MCP)
    assert (await realm.mint(here, issued)).token


async def test_narrowed_key_gets_a_token_of_its_own(realm: RealmWorld, here: RealmProcess) -> None:
    """After any change of the policy nothing from before is handed out."""
    issued = await realm.issue()
    first = await realm.mint(here, issued, scopes=("read",))
    await realm.world.write(issued.owner.id, replace(await realm.world.stored(issued), gen=5))
    await here.process.follower.announce(Change(key_id=issued.record.key_id, gen=5, at=NOW.timestamp()))
    assert (await realm.mint(here, issued, scopes=("read",))).token != first.token
