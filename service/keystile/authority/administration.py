"""Administration: what a caller asks of keys through the API, done if the rights table allows it, audited if not."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

from keystile.ceilings import check_may_issue, check_within, inherited
from keystile.documents import etag_of
from keystile.errors import CannotTellError, KeyUnknownError, OwnerUnknownError, PreconditionError, RightsError
from keystile.ports import AuditEvent
from keystile.records import Owner, Status
from keystile.rights import (
    Action,
    Relation,
    Role,
    allows,
    changed_fields,
    denied_fields,
    relations,
    widened_fields,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    from keystile.authority.alterations import Alterations, RotatedKey, Wanted
    from keystile.authority.auditing import Auditor
    from keystile.authority.impersonation import Impersonation
    from keystile.authority.incidents import Incidents, Swept
    from keystile.authority.lifecycle import IssuedKey, KeyRequest, Lifecycle
    from keystile.authority.registering import RegisteredKey, Registrar
    from keystile.authority.stops import StoppedKey, Stops
    from keystile.policy import RequestContext
    from keystile.ports import Directory
    from keystile.public_keys import PublicKey
    from keystile.records import KeyRecord, RequestTag, RevocationReason
    from keystile.rights import Caller

    Fits = Callable[[Owner, KeyRecord], bool]

_PAGES_AT_ONCE = 10  # of 100 owners
_OVERLAP = 20  # owners that the next page of a store may repeat
_OWNER_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and in which request."""

    caller: Caller
    context: RequestContext


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the listing: *skip* keys into the page *after*, less the owners *seen* on the page before."""

    after: str = ""
    skip: int = 0
    seen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """Keys, and the place where the next page begins; None at the end."""

    keys: list[tuple[Owner, KeyRecord]]
    place: Place | None


@dataclass(frozen=True, kw_only=True)
class Administration:
    """Every method raises `RightsError` for what the caller may not do; a key it may not see is unknown to it."""

    directory: Directory
    lifecycle: Lifecycle
    registrar: Registrar
    alterations: Alterations
    stops: Stops
    incidents: Incidents
    impersonation: Impersonation
    auditor: Auditor

    async def show(self, asker: Asker, key_id: str, action: Action = Action.SHOW) -> tuple[Owner, KeyRecord]:
        """Return a key and its owner, if the caller may do *action* to it."""
        owner, record = await self._find(asker, key_id, action)
        self._permit(asker, action, owner, record)
        return owner, record

    async def _find(self, asker: Asker, key_id: str, action: Action) -> tuple[Owner, KeyRecord]:
        # Only for who may do it to any key the whole store is searched: else anybody could have that done.
        try:
            return await self.lifecycle.show(key_id, thorough=allows(asker.caller, action, Relation.ANY))
        except KeyUnknownError:
            owner = await self.directory.owner(asker.caller.subject) if asker.caller.subject else None
            record = owner.record(key_id) if owner is not None else None
            if owner is None or record is None:
                raise
            return owner, record

    async def owner(self, asker: Asker, user_id: str, action: Action) -> Owner:
        """Return the owner of that id, or else of that username, if the caller may do *action* to its keys."""
        owner = await self.directory.owner(user_id) if _OWNER_ID.fullmatch(user_id) else None
        owner = owner or await self.directory.owner_named(user_id)
        if owner is not None and self._may(asker, action, owner.id, ""):
            return owner
        is_seen = owner is not None and self._may(asker, Action.SHOW, owner.id, "")
        if is_seen or not allows(asker.caller, action, Relation.ANY):
            _refuse(action)
        raise OwnerUnknownError("there is no such user")

    async def page(self, asker: Asker, start: Place, limit: int, fits: Fits, username: str | None = None) -> Page:
        """Return up to *limit* keys the caller may list and that *fits*, and where the next page begins.

        A page may hold fewer, even none, and not be the last: of a large store so many owners are looked at, no more.
        With a *username* only that owner is looked at.
        """
        if username is not None:
            named = await self.directory.owner_named(username)
            return self._cut(asker, start, () if named is None else (named,), "", limit, fits)
        in_tenants = bool(asker.caller.tenants) and Role.TENANT_ADMIN in asker.caller.roles
        if in_tenants or allows(asker.caller, Action.LIST, Relation.ANY):
            return await self._page_of_all(asker, start, limit, fits)
        self.check(asker, Action.LIST)
        owner = await self.directory.owner(asker.caller.subject)
        owners = () if owner is None else (owner,)
        return self._cut(asker, Place(skip=start.skip), owners, "", limit, fits)

    async def _page_of_all(self, asker: Asker, start: Place, limit: int, fits: Fits) -> Page:
        found: list[tuple[Owner, KeyRecord]] = []
        place = start
        for _ in range(_PAGES_AT_ONCE):
            owners, after = await self.directory.owners(place.after)
            page = self._cut(asker, place, owners, after, limit - len(found), fits)
            found += page.keys
            if page.place is None or len(found) >= limit:
                return Page(found, page.place)
            place = page.place
        return Page(found, place)

    def _cut(self, asker: Asker, place: Place, owners: Sequence[Owner], after: str, limit: int, fits: Fits) -> Page:
        """Return up to *limit* keys of one page of owners, and where to go on: in it, *after* it, or nowhere."""
        fresh = [owner for owner in owners if _mark(owner) not in place.seen]
        keys = [(owner, record) for owner in fresh for record in owner.by_age()]
        found: list[tuple[Owner, KeyRecord]] = []
        for number, (owner, record) in enumerate(keys[place.skip :], place.skip + 1):
            if self._may(asker, Action.LIST, owner.id, record.policy.tenant) and fits(owner, record):
                found.append((owner, record))
                if len(found) == limit and (number < len(keys) or after):
                    return Page(found, replace(place, skip=number))
        seen = tuple(_mark(owner) for owner in owners)[-_OVERLAP:]
        return Page(found, Place(after, 0, seen) if after else None)

    async def issue(self, asker: Asker, request: KeyRequest, asked: Mapping[str, Any]) -> IssuedKey:
        """Issue a key whose policy is *asked* on top of what the caller hands down.

        A request whose tag was seen in the last 24 hours raises `RequestReusedError` with the key it issued then.
        """
        return await self.lifecycle.issue(await self._permitted(asker, request, asked))

    async def register(
        self, asker: Asker, request: KeyRequest, asked: Mapping[str, Any], public_key: PublicKey
    ) -> RegisteredKey:
        """Register a public key whose holder was proved, by the same rights and within the same bounds as a new key."""
        return await self.registrar.register(await self._permitted(asker, request, asked), public_key)

    async def _permitted(self, asker: Asker, request: KeyRequest, asked: Mapping[str, Any]) -> KeyRequest:
        caller = asker.caller
        base = inherited(caller, str(asked.get("tenant", "")))
        policy = base.changed(asked)
        owner = await self.directory.owner_named(request.owner) or Owner(id="", username=request.owner)
        related = relations(caller, owner.id, policy.tenant)
        if not allows(caller, Action.ISSUE, *related):
            _refuse(Action.ISSUE)
        self._check_fields(asker, changed_fields(policy, base), frozenset(), related)
        check_may_issue(caller)
        check_within(caller, policy, request.expires_at, request.environment, levels=self.lifecycle.rules.levels)
        await self.impersonation.check(caller, Action.ISSUE, owner, *related, context=asker.context)
        return replace(request, policy=policy, issued_by=caller.actor)

    async def change(
        self, asker: Asker, key_id: str, wanted: Wanted, only_if: frozenset[str]
    ) -> tuple[Owner, KeyRecord]:
        """Change a key; *only_if* holds the entity tags of which it must still have one, if it holds any."""
        await self.show(asker, key_id, Action.CHANGE)

        def check(owner: Owner, record: KeyRecord) -> None:
            self._permit(asker, Action.CHANGE, owner, record)
            if only_if and only_if.isdisjoint({"*", etag_of(record)}):
                raise PreconditionError("the key was changed meanwhile: look at it again")
            after = wanted.applied_to(record)
            related = relations(asker.caller, owner.id, record.policy.tenant)
            widened = widened_fields(after.policy, record.policy, after.expires_at, record.expires_at)
            self._check_fields(asker, changed_fields(after.policy, record.policy), widened, related)
            levels = self.lifecycle.rules.levels
            check_within(asker.caller, after.policy, after.expires_at, record.environment, before=record, levels=levels)

        return await self.alterations.alter(key_id, wanted, by=asker.caller.actor, check=check)

    async def resume(self, asker: Asker, key_id: str) -> tuple[Owner, KeyRecord]:
        """Resume a suspended key; its owner cannot unless it was suspended by the owner itself."""
        await self.show(asker, key_id, Action.RESUME)

        def check(owner: Owner, record: KeyRecord) -> None:
            self._permit(asker, Action.RESUME, owner, record)
            others = set(relations(asker.caller, owner.id, record.policy.tenant)) - {Relation.OWN}
            by_others = record.status is Status.SUSPENDED and not owner.is_own(record.suspended_by)
            if by_others and not allows(asker.caller, Action.RESUME, *others):
                raise RightsError("an administrator suspended this key, and resumes it")
            check_within(asker.caller, record.policy, record.expires_at, record.environment)

        return await self.alterations.resume(key_id, by=asker.caller.actor, check=check)

    async def rotate(self, asker: Asker, key_id: str, grace: timedelta, tag: RequestTag | None) -> RotatedKey:
        """Give a key a new secret."""
        owner, record = await self.show(asker, key_id, Action.ROTATE)
        related = relations(asker.caller, owner.id, record.policy.tenant)
        await self.impersonation.check(asker.caller, Action.ROTATE, owner, *related, context=asker.context)

        def check(owner: Owner, record: KeyRecord) -> None:
            self._permit(asker, Action.ROTATE, owner, record)
            check_within(asker.caller, record.policy, record.expires_at, record.environment)

        return await self.alterations.rotate(key_id, grace=grace, by=asker.caller.actor, check=check, tag=tag)

    async def suspend(self, asker: Asker, key_id: str) -> StoppedKey:
        """Suspend a key; while the store is away, for whoever may suspend any key, or itself."""
        await self._permit_stop(asker, key_id, Action.SUSPEND)
        return await self.stops.suspend(key_id, suspended_by=asker.caller.actor)

    async def revoke(self, asker: Asker, key_id: str, reason: RevocationReason) -> StoppedKey:
        """Revoke a key; while the store is away, for whoever may revoke any key, or itself."""
        await self._permit_stop(asker, key_id, Action.REVOKE)
        return await self.stops.revoke(key_id, reason=reason, revoked_by=asker.caller.actor)

    async def revoke_family(self, asker: Asker, key_id: str, reason: RevocationReason) -> tuple[StoppedKey, Swept]:
        """Revoke a key and all that it issued, whoever has it: for whoever may revoke any key.

        Raises `CannotTellError`, the key itself revoked, while nobody can say what it issued.
        """
        self._check_any(asker, Action.REVOKE)
        stopped = await self.revoke(asker, key_id, reason)
        return stopped, await self.incidents.revoke_issued_by([key_id], reason=reason, by=asker.caller.actor)

    async def revoke_all(self, asker: Asker, user_id: str, reason: RevocationReason, *, cascade: bool = False) -> Swept:
        """Revoke every key of an owner; *cascade*: and all that they issued, for whoever may revoke any key."""
        if cascade:
            self._check_any(asker, Action.REVOKE)
        owner = await self.owner(asker, user_id, Action.REVOKE_ALL)
        held = [(owner, record) for record in owner.records if record.revoked_at is None]
        swept = await self.incidents.revoke_each(held, reason=reason, by=asker.caller.actor)
        if swept.failed and not swept.stopped:
            raise CannotTellError(swept.failed[0][1])
        if not cascade:
            return swept
        key_ids = [record.key_id for record in owner.records]
        return swept + await self.incidents.revoke_issued_by(key_ids, reason=reason, by=asker.caller.actor)

    def check(self, asker: Asker, action: Action) -> None:
        """Raise a `RightsError` unless the caller may do *action* to its own keys at least."""
        if not any(self._may(asker, action, owner_id, "") for owner_id in ("", asker.caller.subject)):
            _refuse(action)

    def _check_any(self, asker: Asker, action: Action) -> None:
        if not allows(asker.caller, action, Relation.ANY):
            _refuse(action)

    async def _permit_stop(self, asker: Asker, key_id: str, action: Action) -> None:
        try:
            await self.show(asker, key_id, action)
        except CannotTellError:
            ceiling = asker.caller.ceiling
            itself = (
                ceiling is not None and ceiling.key_id == key_id and self._may(asker, action, asker.caller.subject, "")
            )
            if not itself and not allows(asker.caller, action, Relation.ANY):
                raise

    def _permit(self, asker: Asker, action: Action, owner: Owner, record: KeyRecord) -> None:
        if self._may(asker, action, owner.id, record.policy.tenant):
            return
        if not self._may(asker, Action.SHOW, owner.id, record.policy.tenant):
            self._audit_unseen(action, owner, record)
            raise KeyUnknownError(f"there is no key with the id {record.key_id}")
        _refuse(action)

    def _may(self, asker: Asker, action: Action, owner_id: str, tenant: str) -> bool:
        return allows(asker.caller, action, *relations(asker.caller, owner_id, tenant))

    def _check_fields(
        self, asker: Asker, changed: frozenset[str], widened: frozenset[str], related: tuple[Relation, ...]
    ) -> None:
        denied = denied_fields(asker.caller, changed, widened, *related)
        if denied:
            names = ", ".join(sorted(denied))
            raise RightsError(f"not for this caller to set, or to set to more: {names}", fields=denied)

    def _audit_unseen(self, action: Action, owner: Owner, record: KeyRecord) -> None:
        """Audit that a key was asked for whose existence is not told: the caller hears that there is none."""
        self.auditor.changed(
            AuditEvent(
                event="management_refused",
                outcome="refused",
                key_id=record.key_id,
                owner=owner.username,
                tenant=record.policy.tenant or None,
                reason="unseen",
                detail={"action": action.value},
            )
        )


def _refuse(action: Action) -> NoReturn:
    raise RightsError(f"this caller may not {action.value.replace('_', ' ')} here")


def _mark(owner: Owner) -> str:
    return hashlib.sha256(owner.id.encode()).hexdigest()[:8]
