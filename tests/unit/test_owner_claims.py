"""What JWTs tell of a key's owner: only what a setting names, never over a claim of ours, and while it is so."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.adapters.keycloak.attributes import to_owner
from keystile.authority.delegating import PresentedToken
from keystile.changes import EVERY_ROLE, Change
from keystile.claims import MAX_JWT, Grant, check_claims, claims_of
from keystile.errors import ConfigurationError, KeyRefusedError, PolicyRefusedError, Reason
from keystile.owner_claims import OwnerClaims, parse_owner_claims
from keystile.policy import lacks_facts
from keystile.restrictions import Policy
from keystile.verdicts import Verdict
from unit.builders import DEFAULT_AUDIENCE, ISSUER, NOW, a_record, an_owner, api_rules, asked
from unit.environments import KEYCLOAK, fault
from unit.listening import at
from unit.served import basic, key_id, serving

if TYPE_CHECKING:
    from pathlib import Path

    from keystile.authority.lifecycle import IssuedKey
    from keystile.ports import TokenIssuer
    from unit.environments import Load
    from unit.served import Prepared
    from unit.world import World

OURS = [
    *("iss", "sub", "aud", "exp", "iat", "nbf", "jti", "client_id", "scope", "gen", "env", "act", "cnf", "may_act"),
    *("tenant", "projects", "capabilities", "constraints", "roles", "groups", "realm_access", "resource_access"),
]
TOLD = parse_owner_claims(["deployer", "shop:seller"], ["/ops"], ["department:dept", "site:sites[]"])
RULES = api_rules(knows_roles=True, owner_claims=TOLD)
HOLDS = frozenset({"deployer", "secret-role", "/ops", "/board"})
GRANT = Grant(DEFAULT_AUDIENCE, ("read",))


@pytest.fixture(autouse=True)
def real_clock(request: pytest.FixtureRequest) -> None:
    """Begin now where JWTs are looked at: PyJWT looks at the machine's own clock."""
    if "world" in request.fixturenames:
        world: World = request.getfixturevalue("world")
        world.time.passed = float(int(time.time() - world.time.now().timestamp()))


def told(**owner: Any) -> dict[str, Any]:  # noqa: ANN401 - fields
    return TOLD.of(an_owner(**owner))


@pytest.mark.parametrize("claim", [*OURS, "ISS", "Sub"])
def test_a_claim_with_a_meaning_cannot_be_mapped_over(claim: str) -> None:
    """An attribute never says who somebody is, for whom, until when or what for (RFC 7519, 8693, 9068)."""
    with pytest.raises(ConfigurationError, match=claim):
        parse_owner_claims([], [], [f"department:{claim}"])


@pytest.mark.parametrize("attribute", ["apiKeys", "apiKeyLookup", "apikeys", "apiKey_k1_cacheHash"])
def test_key_records_cannot_be_mapped_out(attribute: str) -> None:
    """What holds keys, older ones too, is told to nobody."""
    with pytest.raises(ConfigurationError, match="nobody"):
        parse_owner_claims([], [], [f"{attribute}:harmless"])


@pytest.mark.parametrize("entry", ["", "a", "a:", ":b", "a:b c", "a b:c", "a:b[]x", "a:1b", "a:é", "a[]:b"])
def test_what_is_no_mapper_is_refused(entry: str) -> None:
    """A typing error is said at the start."""
    with pytest.raises(ConfigurationError):
        parse_owner_claims([], [], [entry])


@given(st.text(max_size=40))
def test_any_mapper_is_read_or_refused(entry: str) -> None:
    """Whatever is configured, no claim of ours and no attribute of key records gets through."""
    try:
        read = parse_owner_claims([], [], [entry])
    except ConfigurationError:
        return
    ((attribute, mapper),) = read.mappers.items()
    assert mapper.claim not in OURS
    assert not attribute.casefold().startswith("apikey")


@pytest.mark.parametrize(
    ("roles", "groups", "mappers"),
    [(["/ops"], [], []), ([], ["ops"], []), ([], [], ["a:x", "b:x"]), ([], [], ["a:x", "a:y"])],
)
def test_contradictions_are_refused(roles: list[str], groups: list[str], mappers: list[str]) -> None:
    """A group is no role, and each attribute and claim is named once."""
    with pytest.raises(ConfigurationError):
        parse_owner_claims(roles, groups, mappers)


def test_only_named_roles_and_groups_are_told() -> None:
    """What else an owner holds is nobody's business; nothing held is no claim."""
    assert told(roles=HOLDS) == {"roles": ["deployer"], "groups": ["/ops"]}
    assert told(roles=frozenset({"secret-role"})) == told() == {}


def test_attributes_are_told_under_their_claims() -> None:
    """One value is a text, a list is asked for by `[]`; of several, no one text is picked."""
    assert told(attributes={"department": ("sales",), "site": ("b", "a"), "phone": ("1",)}) == {
        "dept": "sales",
        "sites": ["b", "a"],
    }
    assert told(attributes={"department": ("sales", "board"), "site": ()}) == {}


def test_nothing_told_overwrites_what_a_jwt_says() -> None:
    """Even a mapper that came past the check changes no claim of ours."""
    forced = OwnerClaims(mappers={"x": replace(TOLD.mappers["department"], claim="sub")})
    owner = an_owner(attributes={"x": ("somebody else",)})
    claims = claims_of(a_record(), owner, GRANT, ISSUER, NOW, timedelta(minutes=5), of_owner=forced)
    assert claims["sub"] == owner.id


def test_without_a_setting_nothing_is_told_and_nothing_read() -> None:
    """No claims, no second question to the directory, and verdicts as they were."""
    record, owner = a_record(), an_owner(roles=HOLDS, attributes={"department": ("sales",)})
    claims = claims_of(record, owner, GRANT, ISSUER, NOW, timedelta(minutes=5), of_owner=OwnerClaims())
    assert not {"roles", "groups", "dept"} & claims.keys()
    assert not lacks_facts(record, an_owner(), api_rules(knows_roles=True))


def test_the_directory_reads_only_what_is_told() -> None:
    """Of a user's attributes, those that a mapper names are kept; one that is not there is known to be empty."""
    user = {"id": "1", "username": "a", "enabled": True, "attributes": {"department": ["sales"], "phone": ["1"]}}
    assert to_owner(user, told=("department", "site")).attributes == {"department": ("sales",), "site": ()}
    assert to_owner(user).attributes is None


@pytest.mark.parametrize("attributes", [None, {"department": ("sales",), "site": ()}])
def test_verdict_keeps_what_is_told(attributes: dict[str, tuple[str, ...]] | None) -> None:
    """Another process reads the same; nothing read stays nothing read."""
    verdict = Verdict.of(an_owner(attributes=attributes), a_record(), at(5), 7.0)
    assert Verdict.from_text(verdict.to_text()).owner == verdict.owner


def test_a_verdict_read_for_other_claims_is_not_used() -> None:
    """A process that tells more of owners reads the owner again, whatever another one kept."""
    whole = an_owner(roles=HOLDS, attributes={"department": (), "site": ()})
    assert not lacks_facts(a_record(), whole, RULES)
    assert lacks_facts(a_record(), replace(whole, roles=None), RULES)
    assert lacks_facts(a_record(), replace(whole, attributes=None), RULES)
    assert lacks_facts(a_record(), replace(whole, attributes={"department": ()}), RULES)


def test_the_embedded_store_has_no_owners_to_tell_of(load: Load) -> None:
    """Roles, groups and attributes are Keycloak's: elsewhere the settings stop the start."""
    for name, value in (("ROLES", "deployer"), ("GROUPS", "/ops"), ("MAPPERS", "a:b")):
        assert "KEYSTILE_STORE=keycloak" in fault(load, **{f"CLAIM_{name}": value})
    assert load(**KEYCLOAK, CLAIM_ROLES="deployer,shop:seller").marked_roles == ("shop:seller",)


async def issue(world: World, **owner: Any) -> IssuedKey:  # noqa: ANN401 - fields
    """Issue a key whose owner holds roles, and has attributes as Keycloak would show them."""
    issued = await world.issue(policy=Policy(scopes=("read",)))
    world.directory.held[issued.owner.id] = owner.pop("roles", HOLDS)
    (stored,) = await world.store.find(issued.record.key_id)
    planted = replace(stored, **{"attributes": {"department": ("sales",), "site": ()}, **owner})
    world.directory.planted[issued.record.key_id] = (planted,)
    world.directory.planted_owners[issued.owner.id] = planted
    await world.pass_time(0)
    return issued


async def test_a_jwt_tells_what_is_set_and_dies_with_it(world: World) -> None:
    """A role that is lost, once the change is told, ends JWTs that tell it, and the next one does not."""
    issued = await issue(world)
    minted = await world.exchange.mint(await world.verify(issued.key, rules=RULES), asked(RULES))
    claims = jwt.decode(minted.token, options={"verify_signature": False})
    assert (claims["roles"], claims["groups"], claims["dept"]) == (["deployer"], ["/ops"], "sales")
    assert await world.here.jwts.verify(minted.token, asked(RULES))
    world.directory.held[issued.owner.id] = frozenset({"/ops"})
    await world.here.follower.announce(Change(owner_id=EVERY_ROLE, at=world.time.now().timestamp()))
    with pytest.raises(KeyRefusedError) as killed:
        await world.here.jwts.verify(minted.token, asked(RULES))
    assert killed.value.reason is Reason.JWT_KILLED
    later = await world.exchange.mint(await world.verify(issued.key, rules=RULES), asked(RULES))
    assert "roles" not in jwt.decode(later.token, options={"verify_signature": False})
    assert await world.here.jwts.verify(later.token, asked(RULES))


async def test_a_changed_attribute_ends_jwts_that_tell_the_former(world: World) -> None:
    """Keycloak names the owner in an event: its verdict is read again, and the JWT says what is not so."""
    issued = await issue(world)
    minted = await world.exchange.mint(await world.verify(issued.key, rules=RULES), asked(RULES))
    before = world.directory.planted_owners[issued.owner.id]
    moved = replace(before, attributes={"department": ("board",), "site": ()})
    world.directory.planted[issued.record.key_id] = (moved,)
    world.directory.planted_owners[issued.owner.id] = moved
    await world.here.follower.announce(Change(owner_id=issued.owner.id, at=world.time.now().timestamp()))
    with pytest.raises(KeyRefusedError) as killed:
        await world.here.jwts.verify(minted.token, asked(RULES))
    assert killed.value.reason is Reason.JWT_KILLED
    later = await world.exchange.mint(await world.verify(issued.key, rules=RULES), asked(RULES))
    assert jwt.decode(later.token, options={"verify_signature": False})["dept"] == "board"


async def test_what_a_jwt_tells_of_its_owner_need_not_be_so_of_who_acts(world: World) -> None:
    """An agent without the owner's roles acts by a JWT that tells them, until the owner itself loses one."""
    agent = await world.issue(owner="agent", policy=Policy(scopes=("read",)))
    alice = await world.issue(policy=Policy(scopes=("read",), may_act=(agent.record.key_id,)))
    world.directory.held |= {alice.owner.id: HOLDS, agent.owner.id: frozenset()}
    await world.pass_time(0)
    roles = api_rules(knows_roles=True, owner_claims=parse_owner_claims(["deployer"], ["/ops"], []))
    subject, actor = (PresentedToken(each.key.reveal(), is_jwt=False) for each in (alice, agent))
    _, minted = await world.delegating().issue(subject, actor, asked(roles))
    assert (await world.here.jwts.verify(minted.token, asked(roles))).claims["roles"] == ["deployer"]
    world.directory.held[alice.owner.id] = frozenset()
    await world.here.follower.announce(Change(owner_id=EVERY_ROLE, at=world.time.now().timestamp()))
    with pytest.raises(KeyRefusedError) as killed:
        await world.here.jwts.verify(minted.token, asked(roles))
    assert killed.value.reason is Reason.JWT_KILLED


async def test_a_jwt_that_no_header_could_carry_is_refused(world: World) -> None:
    """More than 4 KB: refused and audited by a reason of its own, whatever an administrator wrote at the owner."""
    issued = await issue(world, attributes={"department": (), "site": tuple(f"{number:0200}" for number in range(20))})
    verdict = await world.verify(issued.key, rules=RULES)
    exchange = replace(world.exchange, auditor=world.here.verifier.auditor)
    with pytest.raises(KeyRefusedError) as refused:
        await exchange.mint(verdict, asked(RULES))
    assert refused.value.reason is Reason.JWT_TOO_LARGE
    assert world.reasons() == ["jwt_too_large"]


class LongWinded:
    """An issuer whose JWTs are longer than any other's."""

    def __init__(self, inner: TokenIssuer) -> None:
        self._inner = inner
        self.issuer = inner.issuer
        self.maker = inner.maker

    async def mint(self, claims: dict[str, Any]) -> str:
        """Return a JWT with much in it."""
        return await self._inner.mint({**claims, "filler": "x" * MAX_JWT})


async def test_both_doors_say_that_a_jwt_is_too_large(prepared: Prepared, tmp_path: Path) -> None:
    """400 `invalid_request` with the way out (RFC 6749, 5.2), to the holder of the key alone; no JWT goes out."""
    async with serving(prepared, tmp_path) as client:
        doors = client.front._doors  # noqa: SLF001 - no request alone makes a JWT grow
        assert doors is not None
        object.__setattr__(doors.exchange, "tokens", LongWinded(doors.exchange.tokens))
        good = client.keys["good"]
        answers = [
            await client.token(basic(key_id(good), good)),
            await client.verify(("Authorization", f"Bearer {good}")),
        ]
        assert [(answer.status, answer.json()["error"]) for answer in answers] == [(400, "invalid_request")] * 2
        assert str(MAX_JWT) in answers[0].json()["error_description"]
        assert all(answer.header("authorization") is None for answer in answers)


@pytest.mark.parametrize("longest", ["projects", "capabilities"])
def test_what_could_never_fit_is_refused_when_the_key_is_issued(longest: str) -> None:
    """By the name of the field, while somebody is there to read it."""
    much: dict[str, Any] = {
        "projects": tuple("p" * 250 + str(number) for number in range(9)),
        "capabilities": ({"resource": "r" * 250, "actions": ["a" * 40], "constraints": {}},) * 9,
    }
    with pytest.raises(PolicyRefusedError) as refused:
        check_claims(Policy(**{longest: much[longest]}))
    assert refused.value.fields == {longest}


@pytest.mark.parametrize("number", [6, 7])
async def test_what_may_be_issued_fits(world: World, number: int) -> None:
    """A policy that was let in, with the longest audience it may list, gives a JWT that is let out."""
    policy = Policy(
        projects=tuple("p" * 250 + str(each) for each in range(number)), audiences=("https://x/" + "a" * 490,)
    )
    check_claims(policy)
    issued = await world.issue(policy=policy)
    await world.pass_time(0)
    audience = policy.audiences[0]
    verdict = await world.verify(issued.key, audience=audience)
    minted = await world.exchange.mint(verdict, asked(audience=audience))
    assert len(minted.token) + 342 < MAX_JWT  # an RSA signature is longer than this world's by less
