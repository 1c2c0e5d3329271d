from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keystile.authority.impersonation import Impersonation
from keystile.errors import CannotTellError, RightsError
from keystile.rights import Action, Caller, CallerKind, Relation, Role
from unit.builders import api_rules, asked

if TYPE_CHECKING:
    from keystile.records import Owner
    from unit.world import World

ADMIN = Caller(
    kind=CallerKind.REALM_USER, actor="realm:root", subject="root", roles=frozenset({Role.ADMIN, Role.OWNER_WRITE})
)
USER = Caller(kind=CallerKind.REALM_USER, actor="realm:bob", subject="bob", roles=frozenset({Role.OWNER_WRITE}))


@pytest.fixture
async def alice(world: World) -> Owner:
    return await world.store.adopt("alice")


async def check(world: World, caller: Caller, action: Action, owner: Owner, *relations: Relation) -> None:
    impersonation = Impersonation(directory=world.directory, auditor=world.here.verifier.auditor)
    await impersonation.check(caller, action, owner, *relations, context=asked(api_rules(), request_id="r1"))


def said(world: World) -> list[tuple[str, str | None, str, str]]:
    """Return outcome, owner, actor and action of each audited impersonation."""
    events = [event for event in world.audit.events if event.event == "impersonation"]
    assert all((event.address, event.request_id) == ("192.0.2.1", "r1") for event in events)
    return [(event.outcome, event.owner, event.detail["by"], event.detail["action"]) for event in events]


@pytest.mark.parametrize("action", [Action.ISSUE, Action.ROTATE])
async def test_admin_gets_keys_for_others_and_it_is_audited(world: World, alice: Owner, action: Action) -> None:
    """An admin may, and who did it for whom is written down."""
    await check(world, ADMIN, action, alice, Relation.ANY)
    assert said(world) == [("accepted", "alice", "realm:root", action.value)]


async def test_nobody_gets_keys_for_an_administrator(world: World, alice: Owner) -> None:
    """Not even an admin: such a key would be the way to rights it does not have."""
    world.directory.administrators.add(alice.id)
    with pytest.raises(RightsError):
        await check(world, ADMIN, Action.ISSUE, alice, Relation.ANY)
    assert said(world) == [("refused", "alice", "realm:root", "issue")]


async def test_owner_gets_no_keys_for_others(world: World, alice: Owner) -> None:
    """Without the right it is refused before anything is asked, and audited."""
    with pytest.raises(RightsError):
        await check(world, USER, Action.ISSUE, alice, Relation.ANY)
    assert said(world) == [("refused", "alice", "realm:bob", "issue")]
    assert world.directory.role_reads == []


async def test_own_keys_and_other_actions_are_no_impersonation(world: World, alice: Owner) -> None:
    """Nothing is asked, and nothing said."""
    world.directory.down = True
    await check(world, ADMIN, Action.ISSUE, alice, Relation.OWN, Relation.ANY)
    await check(world, ADMIN, Action.REVOKE, alice, Relation.ANY)
    assert said(world) == []


async def test_what_nobody_can_tell_is_not_allowed(world: World, alice: Owner) -> None:
    """While the realm is away, nobody knows whether the owner administers it."""
    world.directory.down = True
    with pytest.raises(CannotTellError):
        await check(world, ADMIN, Action.ISSUE, alice, Relation.ANY)
