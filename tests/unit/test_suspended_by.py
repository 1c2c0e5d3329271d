"""Who suspended a key is remembered: what an administrator stopped, its owner does not start again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from keystile.authority.administration import Administration, Asker
from keystile.authority.impersonation import Impersonation
from keystile.authority.incidents import Incidents
from keystile.errors import CannotTellError, RightsError
from keystile.records import KeyRecord, Status, hidden_actor, kept_actor
from keystile.rights import Caller, CallerKind, Role
from unit.builders import NOW, a_record, an_owner, api_rules, asked
from unit.signing_world import SigningWorld

if TYPE_CHECKING:
    from keystile.authority.lifecycle import IssuedKey
    from unit.world import World

OWNER, ADMIN, TENANT_ADMIN = "realm:alice", "realm:root", "realm:carol"


def administration(world: World) -> Administration:
    here = world.here
    auditor = here.verifier.auditor
    return Administration(
        directory=world.store,
        lifecycle=here.lifecycle,
        registrar=SigningWorld(world).registrar,
        alterations=here.alterations,
        stops=here.lifecycle.stops,
        incidents=Incidents(directory=world.store, stops=here.lifecycle.stops, clock=world.time.now),
        impersonation=Impersonation(directory=world.directory, auditor=auditor),
        auditor=auditor,
    )


def asker(issued: IssuedKey, actor: str) -> Asker:
    """Return alice, or somebody who has a right to other people's keys, as they call."""
    role = {OWNER: Role.OWNER_WRITE, ADMIN: Role.ADMIN, TENANT_ADMIN: Role.TENANT_ADMIN}.get(actor, Role.OWNER_WRITE)
    caller = Caller(
        kind=CallerKind.REALM_USER,
        actor=actor,
        subject=issued.owner.id if role is Role.OWNER_WRITE else actor,
        roles=frozenset({role, Role.OWNER_READ}),
        tenants=frozenset({"acme"} if role is Role.TENANT_ADMIN else ()),
    )
    return Asker(caller, asked(api_rules()))


async def suspend(world: World, issued: IssuedKey, actor: str) -> None:
    await administration(world).suspend(asker(issued, actor), issued.record.key_id)


async def resume(world: World, issued: IssuedKey, actor: str) -> KeyRecord:
    return (await administration(world).resume(asker(issued, actor), issued.record.key_id))[1]


async def test_owner_resumes_what_it_suspended(world: World) -> None:
    """By hand or by one of its keys; who did it is forgotten then."""
    issued, other = await world.issue(), await world.issue()
    for actor in (OWNER, f"key:{other.record.key_id}"):
        await suspend(world, issued, actor)
        assert (await world.stored(issued)).suspended_by == actor
        assert (await resume(world, issued, OWNER)).suspended_by == ""


@pytest.mark.parametrize("first", [ADMIN, OWNER])
async def test_owner_does_not_resume_what_an_administrator_suspended(world: World, first: str) -> None:
    """Neither after suspending it once more, nor if it had been the first to do it; an administrator does."""
    issued = await world.issue()
    for actor in (first, ADMIN, OWNER):
        await suspend(world, issued, actor)
    with pytest.raises(RightsError, match="administrator"):
        await resume(world, issued, OWNER)
    assert (await world.stored(issued)).status is Status.SUSPENDED
    assert (await resume(world, issued, ADMIN)).status is Status.ACTIVE


async def test_nobody_known_counts_as_an_administrator(world: World) -> None:
    """A record that does not say who suspended it stays as it is until somebody with a right to it decides."""
    issued = await world.issue()
    await world.write(issued.owner.id, issued.record.suspended(0))
    with pytest.raises(RightsError):
        await resume(world, issued, OWNER)


async def test_the_operator_and_tenant_administrators_resume(world: World) -> None:
    """The command line is above the table; a tenant's administrator has a right to the keys of the tenant."""
    issued = await world.issue(policy=replace(a_record().policy, tenant="acme"))
    await suspend(world, issued, ADMIN)
    assert (await resume(world, issued, TENANT_ADMIN)).status is Status.ACTIVE
    await suspend(world, issued, ADMIN)
    await world.here.alterations.resume(issued.record.key_id, by="cli:root")
    assert (await world.stored(issued)).status is Status.ACTIVE


async def test_a_suspension_written_later_still_says_who(world: World) -> None:
    """Said while the directory is away, it hides its actor's name; two different ones count as an administrator."""
    for actors, own in (([OWNER], True), ([ADMIN], False), ([ADMIN, OWNER], False), ([OWNER, ADMIN], False)):
        issued = await world.issue()
        away = replace(world.here.lifecycle.stops, directory=_Away())
        for actor in actors:
            await away.suspend(issued.record.key_id, suspended_by=actor)
        assert "alice" not in repr(await world.journal.entries())
        await world.here.lifecycle.stops.finish_journal()
        record = await world.stored(issued)
        assert record.status is Status.SUSPENDED
        owner = await world.store.owner(issued.owner.id)
        assert owner is not None
        assert owner.is_own(record.suspended_by) is own, actors


def test_long_names_are_kept_short_and_told_apart() -> None:
    """Whatever an actor is called, a suspension fits into what is kept free for it, and is nobody else's."""
    long, other = "realm:" + "x" * 255, "realm:" + "x" * 254 + "y"
    assert len(kept_actor(long)) < 40
    owner = an_owner(a_record(), username="x" * 255)
    assert owner.is_own(kept_actor(long))
    assert not owner.is_own(kept_actor(other))
    assert not an_owner(a_record(), username="").is_own("")
    assert hidden_actor(hidden_actor(long)) == hidden_actor(long) == kept_actor(long)


def test_it_is_stored_and_read() -> None:
    """The text form keeps it, and neither tombstones nor cached verdicts have it."""
    record = a_record().suspended(0, OWNER)
    assert KeyRecord.from_text(record.to_text()) == record
    assert record.pared().suspended_by == record.expired().suspended_by == ""
    assert record.revoked(NOW, None, 0).suspended_by == ""  # type: ignore[arg-type]  # any reason


class _Away:
    def __getattr__(self, _name: str) -> Any:  # noqa: ANN401 - whatever is asked of a directory
        return _away


async def _away(*_: object, **__: object) -> NoReturn:
    raise CannotTellError("away")
