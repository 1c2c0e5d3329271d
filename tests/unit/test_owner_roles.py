"""Scopes that count only while the owner holds a role: at mint, in verdicts, and in JWTs handed out before."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.changes import EVERY_ROLE, Change
from keystile.errors import CannotTellError, KeyRefusedError, OwnerUnknownError, Reason
from keystile.policy import decide, held_scopes, needs_roles
from keystile.restrictions import Policy
from keystile.verdicts import Verdict
from unit.builders import API_AUDIENCE, NOW, a_record, an_owner, api_rules, asked, rules
from unit.listening import Listener, a_verdict, at

if TYPE_CHECKING:
    from keystile.authority.lifecycle import IssuedKey
    from keystile.policy import Rules
    from unit.world import World

BOUND = {"deploy": "deployer", "ops": "/ops", "sell": "shop:seller"}
HOLDS = frozenset({"deployer", "/ops", "shop:seller", "keystile:key-admin"})


def bound_rules(**changes: Any) -> Rules:  # noqa: ANN401 - fields
    return api_rules(**{"scope_roles": BOUND, "knows_roles": True, **changes})


RULES = bound_rules()


@pytest.fixture(autouse=True)
def real_clock(request: pytest.FixtureRequest) -> None:
    """Begin now where JWTs are looked at: PyJWT looks at the machine's own clock."""
    if "world" in request.fixturenames:
        world: World = request.getfixturevalue("world")
        world.time.passed = float(int(time.time() - world.time.now().timestamp()))


@given(roles=st.sets(st.sampled_from(sorted(HOLDS))))
def test_bound_scope_is_held_just_while_its_role_is(roles: set[str]) -> None:
    """Each scope goes with its own role; those that need nothing stay."""
    record = a_record(policy=Policy(scopes=("read", *BOUND)))
    held = held_scopes(record, an_owner(roles=frozenset(roles)), RULES)
    assert held == ("read", *(scope for scope, role in BOUND.items() if role in roles))


def test_roles_not_read_are_not_held() -> None:
    """An owner whose roles nobody read has none of the scopes that need one."""
    record = a_record(policy=Policy(scopes=("read", "deploy", "keys:admin")))
    assert held_scopes(record, an_owner(), RULES) == ("read",)


def test_where_roles_are_not_known_the_record_decides() -> None:
    """On the embedded store `keys:admin` is what the operator gave."""
    record = a_record(policy=Policy(scopes=("read", "keys:admin")))
    assert held_scopes(record, an_owner(), rules()) == ("read", "keys:admin")
    assert not needs_roles(record, rules())


@pytest.mark.parametrize(
    ("tenant", "roles", "holds"),
    [
        ("", {"keystile:key-admin"}, True),
        ("", {"keystile:tenant-admin"}, False),
        ("acme", {"keystile:tenant-admin"}, True),
        ("acme", {"keystile:key-admin"}, True),
        ("acme", {"key-admin", "tenant-admin"}, False),
        ("", set(), False),
    ],
)
def test_keys_admin_counts_while_the_owner_is_one(tenant: str, roles: set[str], holds: bool) -> None:  # noqa: FBT001 - a table
    """`key-admin` of the client keystile, or within a tenant `tenant-admin`."""
    record = a_record(policy=Policy(scopes=("keys:admin",), tenant=tenant))
    assert bool(held_scopes(record, an_owner(roles=frozenset(roles)), RULES)) is holds


@pytest.mark.parametrize(
    ("scopes", "needs"),
    [
        ((), False),
        (("read",), False),
        (("keys:read", "keys:write"), False),
        (("deploy",), True),
        (("keys:admin",), True),
    ],
)
def test_roles_are_needed_for_bound_scopes_alone(scopes: tuple[str, ...], needs: bool) -> None:  # noqa: FBT001 - a table
    """Most keys cost no second question."""
    assert needs_roles(a_record(policy=Policy(scopes=scopes)), RULES) is needs


def api_reason(*scopes: str, audience: str | None, held: tuple[str, ...] = ("read", "keys:read")) -> Reason | None:
    record = a_record(policy=Policy(scopes=held, audiences=("https://a",)))
    return decide(record, an_owner(), asked(RULES, scopes=scopes, audience=audience), NOW)


def test_management_scopes_are_for_the_management_api_alone() -> None:
    """`keys:` scopes come by name and with that audience; with any other, they are not given."""
    assert api_reason("keys:read", audience=API_AUDIENCE) is None
    assert api_reason("keys:write", audience=API_AUDIENCE) is Reason.SCOPE_DENIED
    for audience in (None, "https://a"):
        assert api_reason("keys:read", audience=audience) is Reason.SCOPE_DENIED


def test_only_keys_that_manage_may_ask_for_the_api() -> None:
    """The API's audience needs no listing, and a key without a `keys:` scope cannot have it, listed or not."""
    assert api_reason(audience=API_AUDIENCE) is None
    assert api_reason(audience=API_AUDIENCE, held=("read", "introspect")) is Reason.AUDIENCE_DENIED
    listed = a_record(policy=Policy(scopes=("read",), audiences=(API_AUDIENCE,)))
    assert decide(listed, an_owner(), asked(RULES, audience=API_AUDIENCE), NOW) is Reason.AUDIENCE_DENIED


def test_verdict_keeps_what_the_owner_holds() -> None:
    """Another process reads the same; nothing read stays nothing read."""
    for roles in (None, frozenset[str](), HOLDS):
        verdict = Verdict.of(an_owner(roles=roles), a_record(), at(5), 7.0)
        assert Verdict.from_text(verdict.to_text()).owner == verdict.owner


def test_change_of_roles_ends_verdicts_that_depend_on_them() -> None:
    """A group or realm role changed: whoever's verdict holds roles is read again, others are not."""
    listener = Listener()
    listener.hear(5)
    plain = a_verdict(at(5))
    bound = replace(plain, owner=an_owner(roles=HOLDS))
    listener.hear(6, Change(owner_id=EVERY_ROLE))
    now = NOW.timestamp()
    assert listener.memory.counts_verdict(plain, now)
    assert not listener.memory.counts_verdict(bound, now)
    assert listener.memory.counts_verdict(replace(bound, position=at(6)), now)


async def issue(world: World, *scopes: str, holds: frozenset[str] = HOLDS) -> IssuedKey:
    issued = await world.issue(policy=Policy(scopes=scopes))
    world.directory.held[issued.owner.id] = holds
    await world.pass_time(0)
    return issued


async def verify(world: World, issued: IssuedKey, *scopes: str, **changes: Any) -> Verdict:  # noqa: ANN401 - fields
    return await world.verify(issued.key, **{"rules": RULES, "scopes": scopes, **changes})


async def test_roles_are_read_once_and_only_where_needed(world: World) -> None:
    """A key without bound scopes asks nothing of roles; one with them asks once per look-up."""
    await verify(world, await issue(world, "read"))
    assert world.directory.role_reads == []
    issued = await issue(world, "read", "deploy")
    for _ in range(3):
        assert (await verify(world, issued, "deploy")).owner.roles == HOLDS
    assert world.directory.role_reads == [issued.owner.id]


async def test_lost_role_loses_the_scope_within_the_bound(world: World) -> None:
    """Once the change is told, the scope is denied, and a JWT handed out before is dead; the rest goes on."""
    issued = await issue(world, "read", "deploy")
    with_role = await world.exchange.mint(await verify(world, issued, "deploy"), asked(RULES, scopes=("deploy",)))
    without = await world.exchange.mint(await verify(world, issued, "read"), asked(RULES, scopes=("read",)))
    assert await world.here.jwts.verify(with_role.token, asked(RULES))
    world.directory.held[issued.owner.id] = frozenset()
    await world.here.follower.announce(Change(owner_id=EVERY_ROLE, at=world.time.now().timestamp()))
    with pytest.raises(KeyRefusedError) as refused:
        await verify(world, issued, "deploy")
    assert refused.value.reason is Reason.SCOPE_DENIED
    with pytest.raises(KeyRefusedError) as killed:
        await world.here.jwts.verify(with_role.token, asked(RULES))
    assert killed.value.reason is Reason.JWT_KILLED
    assert await world.here.jwts.verify(without.token, asked(RULES))
    minted = await world.exchange.mint(await verify(world, issued), asked(RULES))
    assert minted.granted.scopes == ("read",)


async def test_verdict_of_another_catalogue_is_not_used(world: World) -> None:
    """A process that knows of a new bound scope reads the owner again, whatever another one kept."""
    issued = await issue(world, "deploy")
    await verify(world, issued, rules=rules())
    await world.settle()
    other = await world.start()
    verdict = await world.verify(issued.key, other, rules=RULES, scopes=("deploy",))
    assert verdict.owner.roles == HOLDS


async def test_owner_gone_between_two_questions_is_unknown(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleted after it was found: refused, like any key nobody has."""
    issued = await issue(world, "deploy")

    async def gone(owner_id: str) -> frozenset[str]:
        raise OwnerUnknownError(owner_id)

    monkeypatch.setattr(world.directory, "roles", gone)
    with pytest.raises(KeyRefusedError) as refused:
        await verify(world, issued)
    assert refused.value.reason is Reason.UNKNOWN


async def test_roles_nobody_can_tell_are_503(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an answer the key is neither refused nor given less."""
    issued = await issue(world, "read", "deploy")

    async def away(owner_id: str) -> frozenset[str]:
        raise CannotTellError(owner_id)

    monkeypatch.setattr(world.directory, "roles", away)
    with pytest.raises(CannotTellError):
        await verify(world, issued)
