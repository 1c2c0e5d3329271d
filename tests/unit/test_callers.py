"""Who is let into the management API, as what, and what the audit log says of it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from keystile.errors import CannotTellError, KeyRefusedError, Reason, RightsError
from keystile.ports import RealmUser
from keystile.records import RevocationReason
from keystile.restrictions import Policy
from keystile.rights import CallerKind, Role
from unit.builders import API_AUDIENCE, FORMAT, api_rules, asked, rules
from unit.world import ADMIN_KEY

if TYPE_CHECKING:
    from keystile.authority.lifecycle import IssuedKey
    from keystile.policy import Rules
    from keystile.rights import Caller
    from unit.world import World

TOKEN = "eyJ.a.b"
OWNER_ROLES = frozenset({Role.OWNER_READ, Role.OWNER_WRITE})
ADMIN = frozenset({Role.ADMIN})


@pytest.fixture(autouse=True)
def real_clock(world: World) -> None:
    """Begin now: PyJWT looks at the machine's own clock."""
    world.time.passed = float(int(time.time() - world.time.now().timestamp()))


async def identify(
    world: World, presented: str, ruled: Rules | None = None, *, writing: bool = True, urgent: bool = False
) -> Caller:
    await world.pass_time(0)
    context = asked(ruled or api_rules(), door="api", method="POST", path="/sts/api/v1/keys")
    return await world.here.callers.identify(presented, context, writing=writing, urgent=urgent)


async def refusal(world: World, presented: str, **how: Any) -> Reason:  # noqa: ANN401 - flags
    with pytest.raises(KeyRefusedError) as refused:
        await identify(world, presented, **how)
    return refused.value.reason


async def issue(world: World, *scopes: str, **policy: Any) -> IssuedKey:  # noqa: ANN401 - fields
    return await world.issue(policy=Policy(scopes=scopes, **policy))


async def jwt_of(world: World, issued: IssuedKey, *scopes: str, audience: str | None = API_AUDIENCE) -> str:
    await world.pass_time(0)
    context = asked(api_rules(), scopes=scopes, audience=audience)
    verdict = await world.here.verifier.verify(issued.key.reveal(), context)
    return (await world.exchange.mint(verdict, context)).token


async def user(world: World, *roles: str, **fields: Any) -> RealmUser:  # noqa: ANN401 - fields
    """Return a user of the realm whose token was made a minute ago, and is known."""
    owner = await world.store.adopt("alice")
    issued_at = int(world.time.now().timestamp()) - 60
    known = RealmUser(id=owner.id, username="alice", issued_at=issued_at, roles=frozenset(roles), **fields)
    world.realm.users[TOKEN] = known
    return known


async def test_admin_key_comes_in_and_every_use_is_audited(world: World) -> None:
    """The bootstrap key is an admin that acts for nobody; each use leaves a line, with where it came from."""
    for _ in range(2):
        caller = await identify(world, ADMIN_KEY)
    assert (caller.kind, caller.roles, caller.subject) == (CallerKind.ADMIN_KEY, ADMIN, "")
    assert (caller.actor, caller.ceiling) == ("admin-key", None)
    lines = [event for event in world.audit.events if event.event == "admin_key_used"]
    assert [(line.outcome, line.address) for line in lines] == [("accepted", "192.0.2.1")] * 2
    assert ADMIN_KEY not in repr(world.audit.events)


@pytest.mark.parametrize("wrong", [ADMIN_KEY[:-1], ADMIN_KEY + "x", ADMIN_KEY.upper(), " " + ADMIN_KEY, "", "ü"])
async def test_almost_the_admin_key_is_refused(world: World, wrong: str) -> None:
    """Only the whole key, and nothing but it."""
    assert await refusal(world, wrong) is Reason.MALFORMED


async def test_without_an_admin_key_that_way_is_closed(world: World) -> None:
    """Unset is no key at all, and an empty credential does not match it."""
    closed = replace(world.here.callers, admin_key=None)
    for presented in (ADMIN_KEY, "", "None"):
        with pytest.raises(KeyRefusedError):
            await closed.identify(presented, asked(api_rules()), writing=True)


@pytest.mark.parametrize(
    ("scopes", "roles"),
    [
        (("keys:read",), frozenset({Role.OWNER_READ})),
        (("keys:write", "read"), frozenset({Role.OWNER_WRITE})),
        (("keys:read", "keys:write"), OWNER_ROLES),
        (("keys:admin",), ADMIN),
    ],
)
async def test_key_is_what_its_scopes_say(world: World, scopes: tuple[str, ...], roles: frozenset[Role]) -> None:
    """A key, and a JWT of it for this API, may what its `keys:` scopes say, within the key's own record."""
    issued = await issue(world, *scopes)
    named = tuple(scope for scope in scopes if scope.startswith("keys:"))
    for kind, text, held in (
        (CallerKind.KEY, issued.key.reveal(), scopes),
        (CallerKind.JWT, await jwt_of(world, issued, *named), named),
    ):
        caller = await identify(world, text)
        assert (caller.kind, caller.roles) == (kind, roles)
        assert (caller.subject, caller.username) == (issued.owner.id, "alice")
        assert caller.actor == f"key:{issued.record.key_id}"
        assert caller.ceiling is not None
        assert caller.ceiling.policy == issued.record.policy.changed({"scopes": held})


async def test_jwt_is_less_than_its_key(world: World) -> None:
    """A JWT with one of the key's scopes has the rights of that one."""
    issued = await issue(world, "keys:read", "keys:admin")
    assert (await identify(world, await jwt_of(world, issued, "keys:read"))).roles == {Role.OWNER_READ}


async def test_key_in_a_tenant_is_no_more_than_its_admin(world: World) -> None:
    """`keys:admin` within a tenant reaches that tenant."""
    caller = await identify(world, (await issue(world, "keys:admin", tenant="acme")).key.reveal())
    assert (caller.roles, caller.tenants) == (frozenset({Role.TENANT_ADMIN}), frozenset({"acme"}))


async def test_key_without_a_keys_scope_may_not_come_in(world: World) -> None:
    """Any other key is known, and told that this is not for it; so is a JWT for this API that names no such scope."""
    plain = await issue(world, "read", "introspect")
    with pytest.raises(RightsError):
        await identify(world, plain.key.reveal())
    holder = await issue(world, "read", "keys:read")
    with pytest.raises(RightsError):
        await identify(world, await jwt_of(world, holder))


async def test_jwt_for_another_audience_is_refused(world: World) -> None:
    """What a service was handed does not open the API, though it came from a key that could."""
    issued = await issue(world, "read", "keys:admin")
    assert await refusal(world, await jwt_of(world, issued, audience=None)) is Reason.JWT_INVALID


async def test_dead_credentials_are_refused(world: World) -> None:
    """A revoked key, its JWT, a key nobody has, and what is no credential at all."""
    issued = await issue(world, "keys:read")
    token = await jwt_of(world, issued, "keys:read")
    await world.here.lifecycle.revoke(issued.record.key_id, reason=RevocationReason.UNSPECIFIED, revoked_by="test")
    assert await refusal(world, issued.key.reveal()) is Reason.REVOKED
    assert await refusal(world, token) is Reason.JWT_KILLED
    assert await refusal(world, FORMAT.generate("live").reveal()) is Reason.UNKNOWN
    assert await refusal(world, "nonsense") is Reason.MALFORMED


async def test_owner_who_lost_key_admin_has_no_admin_key(world: World) -> None:
    """Where owners have roles, `keys:admin` counts only while the owner holds one that says so."""
    ruled = api_rules(knows_roles=True)
    issued = await issue(world, "keys:admin", "keys:read")
    world.directory.held[issued.owner.id] = frozenset({"offline_access"})
    assert (await identify(world, issued.key.reveal(), ruled)).roles == {Role.OWNER_READ}
    other = await issue(world, "keys:admin")
    world.directory.held[other.owner.id] = frozenset({"keystile:key-admin"})
    assert (await identify(world, other.key.reveal(), ruled)).roles == {Role.ADMIN}


async def test_user_of_the_realm_owns_its_keys(world: World) -> None:
    """A user without a role may read and write its own; the actor is named, and has no ceiling."""
    known = await user(world)
    caller = await identify(world, TOKEN)
    assert (caller.kind, caller.roles, caller.subject) == (CallerKind.REALM_USER, OWNER_ROLES, known.id)
    assert (caller.actor, caller.username, caller.ceiling) == ("realm:alice", "alice", None)


async def test_roles_of_the_realm_make_admins(world: World) -> None:
    """`key-admin` and `tenant-admin` of the client keystile count, and no other role."""
    await user(world, "key-admin", "tenant-admin", "other", tenants=frozenset({"acme"}))
    caller = await identify(world, TOKEN, writing=False)
    assert caller.roles == OWNER_ROLES | {Role.ADMIN, Role.TENANT_ADMIN}
    assert caller.tenants == {"acme"}


async def test_unknown_token_is_refused_and_audited(world: World) -> None:
    """A token the realm's keys do not prove is like any other wrong credential."""
    assert await refusal(world, "eyJ.b.c") is Reason.JWT_INVALID
    assert world.reasons() == ["jwt_invalid"]


async def test_where_no_realm_is_its_tokens_are_nothing(world: World) -> None:
    """The embedded store has no realm."""
    await user(world)
    alone = replace(world.here.callers, realm=None)
    with pytest.raises(KeyRefusedError):
        await alone.identify(TOKEN, asked(api_rules()), writing=False)


async def test_disabled_user_may_look_and_not_write(world: World) -> None:
    """The token's word is enough to read until it ends; who writes must still be there, enabled."""
    known = await user(world)
    await world.store.set_enabled(known.id, enabled=False)
    assert (await identify(world, TOKEN, writing=False)).subject == known.id
    assert await refusal(world, TOKEN) is Reason.OWNER_DISABLED
    assert await refusal(world, TOKEN, urgent=True) is Reason.OWNER_DISABLED
    world.realm.users[TOKEN] = replace(known, id="gone")
    assert await refusal(world, TOKEN) is Reason.OWNER_DISABLED
    assert world.reasons() == ["owner_disabled"] * 3


async def test_token_from_before_a_sign_out_writes_nothing(world: World) -> None:
    """Who was signed out everywhere needs a newer token."""
    known = await user(world)
    owner = replace(await world.store.adopt("alice"), not_before=known.issued_at)
    world.directory.planted_owners[known.id] = owner
    assert await refusal(world, TOKEN) is Reason.JWT_KILLED
    world.realm.users[TOKEN] = replace(known, issued_at=known.issued_at + 1)
    assert (await identify(world, TOKEN)).subject == known.id


async def test_role_that_was_taken_away_writes_nothing_more(world: World) -> None:
    """A token still says key-admin for minutes; what the realm says now counts for a write."""
    known = await user(world, "key-admin", "tenant-admin")
    world.directory.held[known.id] = frozenset({"keystile:tenant-admin"})
    assert (await identify(world, TOKEN)).roles == OWNER_ROLES | {Role.TENANT_ADMIN}
    assert Role.ADMIN in (await identify(world, TOKEN, writing=False)).roles


async def test_while_the_realm_is_away_only_urgent_writes_go_on(world: World) -> None:
    """Revoke and suspend are believed on the token's word; any other write waits until somebody can tell."""
    await user(world, "key-admin")
    world.directory.down = True
    assert Role.ADMIN in (await identify(world, TOKEN, urgent=True)).roles
    assert Role.ADMIN in (await identify(world, TOKEN, writing=False)).roles
    with pytest.raises(CannotTellError):
        await identify(world, TOKEN)


async def test_admin_key_needs_nothing_that_can_be_away(world: World) -> None:
    """It is compared here: directory and cache may both be gone."""
    world.directory.down = world.far.down = True
    assert (await identify(world, ADMIN_KEY, urgent=True)).roles == {Role.ADMIN}


async def test_api_is_closed_to_jwts_where_it_has_no_audience(world: World) -> None:
    """Rules without an API audience make no JWT for it."""
    issued = await issue(world, "keys:read")
    with pytest.raises(KeyRefusedError) as refused:
        await world.verify(issued.key, rules=rules(), audience=API_AUDIENCE)
    assert refused.value.reason is Reason.AUDIENCE_DENIED
