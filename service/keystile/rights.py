"""Who may do what to which key: one table, and what it does not say is refused."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING

from keystile.policy import RESERVED_SCOPES
from keystile.restrictions import DELEGATION, OWN_LIMITS, Policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from keystile.records import KeyRecord

RESERVED = "reserved_scopes"
"""Stands among the names of a policy's fields for the reserved ones among its scopes."""

ADMIN_FIELDS = frozenset({"level", "tenant", *OWN_LIMITS, *DELEGATION, RESERVED})
"""What an owner may not set on its own keys, not even to less."""


class CallerKind(StrEnum):
    """How a caller proved who it is."""

    REALM_USER = "realm_user"
    KEY = "key"
    JWT = "jwt"
    ADMIN_KEY = "admin_key"
    OPERATOR = "operator"


class Role(StrEnum):
    """What a caller may be; several at once add up."""

    ADMIN = "admin"
    TENANT_ADMIN = "tenant_admin"
    OWNER_READ = "owner_read"
    OWNER_WRITE = "owner_write"
    NEWCOMER = "newcomer"


class Action(StrEnum):
    """What can be done through the management API.

    IMPERSONATE is what ISSUE and ROTATE are besides when the key is somebody else's: who gets it acts as its owner.
    """

    LIST = "list"
    SHOW = "show"
    ISSUE = "issue"
    CHANGE = "change"
    SUSPEND = "suspend"
    RESUME = "resume"
    ROTATE = "rotate"
    REVOKE = "revoke"
    REVOKE_ALL = "revoke_all"
    USAGE = "usage"
    REPORT_USAGE = "report_usage"
    EVENTS = "events"
    VERIFY_BATCH = "verify_batch"
    WHOAMI = "whoami"
    IMPERSONATE = "impersonate"


class Relation(StrEnum):
    """Whose key it is, seen from the caller. `ANY` holds of every key, and of all of them together."""

    OWN = "own"
    TENANT = "tenant"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whoever calls, proved. *actor* is the word for it in `issued_by` and in the audit log.

    *subject* is the owner id it acts for, "" if it acts for nobody. *tenants* are those a tenant admin is one of.
    *ceiling* is the record of the key that calls, which nothing it issues may exceed; None for people.
    """

    kind: CallerKind
    actor: str
    subject: str = ""
    username: str = ""
    roles: frozenset[Role] = frozenset()
    tenants: frozenset[str] = frozenset()
    ceiling: KeyRecord | None = None

    @classmethod
    def operator(cls, actor: str) -> Caller:
        """Return whoever works on the command line: on the store itself, so with every right."""
        return cls(kind=CallerKind.OPERATOR, actor=actor, roles=frozenset({Role.ADMIN}))


@dataclass(frozen=True, slots=True)
class Right:
    """What one role may do in one relation, which fields it may not touch, and whether it may allow more than is."""

    actions: frozenset[Action]
    withheld: frozenset[str] = frozenset()
    widens: bool = True


_LOOK = frozenset({Action.LIST, Action.SHOW, Action.USAGE, Action.EVENTS, Action.VERIFY_BATCH})
_END = frozenset({Action.SUSPEND, Action.RESUME, Action.REVOKE})
_GET = frozenset({Action.ISSUE, Action.ROTATE})
_SET = frozenset({Action.ISSUE, Action.CHANGE})
_OF_AN_OWNER = _GET | _END | {Action.CHANGE, Action.REVOKE_ALL, Action.REPORT_USAGE}

# A tenant admin has no IMPERSONATE: a key acts as its owner everywhere, and nothing here tells who belongs to a tenant.
_TABLE: Mapping[tuple[Role, Relation], Right] = {
    (Role.ADMIN, Relation.ANY): Right(_LOOK | _OF_AN_OWNER | {Action.IMPERSONATE}),
    (Role.ADMIN, Relation.TENANT): Right(_LOOK | _OF_AN_OWNER | {Action.IMPERSONATE}),
    (Role.ADMIN, Relation.OWN): Right(_LOOK | _OF_AN_OWNER | {Action.WHOAMI}),
    (Role.TENANT_ADMIN, Relation.TENANT): Right(
        _LOOK | _GET | _END | {Action.CHANGE, Action.REPORT_USAGE},
        withheld=frozenset({"tenant", *DELEGATION, RESERVED}),
    ),
    (Role.TENANT_ADMIN, Relation.OWN): Right(frozenset({Action.WHOAMI})),
    (Role.OWNER_READ, Relation.OWN): Right(_LOOK | {Action.WHOAMI}),
    (Role.OWNER_WRITE, Relation.OWN): Right(_OF_AN_OWNER | {Action.WHOAMI}, withheld=ADMIN_FIELDS, widens=False),
    # Nobody else manages the keys of who registered without an administrator: the next key may do what this one does.
    (Role.NEWCOMER, Relation.OWN): Right(frozenset({Action.ISSUE}), withheld=ADMIN_FIELDS - {RESERVED}, widens=False),
}


def relations(caller: Caller, owner_id: str, tenant: str) -> tuple[Relation, ...]:
    """Return all that a key of that owner, in that tenant ("": in none), is to *caller*."""
    own = bool(caller.subject) and owner_id == caller.subject
    shared = bool(tenant) and tenant in caller.tenants
    return (*([Relation.OWN] if own else []), *([Relation.TENANT] if shared else []), Relation.ANY)


def allows(caller: Caller, action: Action, *relations: Relation) -> bool:
    """Tell whether *caller* may do that to a key which is all of *relations* to it."""
    granted = frozenset(act for right in _rights(caller, relations) for act in right.actions)
    if action in _GET and Relation.OWN not in relations and Action.IMPERSONATE not in granted:
        return False
    return action in granted


def is_impersonation(action: Action, *relations: Relation) -> bool:
    """Tell whether doing that makes a secret with which somebody can act as another."""
    return action in _GET and Relation.OWN not in relations


def denied_fields(
    caller: Caller, changed: Iterable[str], widened: Iterable[str], *relations: Relation
) -> frozenset[str]:
    """Return which of the *changed* fields *caller* may not set; *widened* are those that allow more than before.

    A new key is compared with what `ceilings.inherited` gives, and widens nothing.
    """
    touched, wider = frozenset(changed), frozenset(widened)
    denied = touched | wider
    # To its own keys a tenant's administrator is an owner like others: it does not set its own limits.
    own = Relation.OWN in relations
    judged = [relation for relation in relations if not (own and relation is Relation.TENANT)]
    for right in _rights(caller, judged):
        if right.actions & _SET:
            denied &= (touched & right.withheld) | (frozenset() if right.widens else wider)
    return denied


def changed_fields(after: Policy, before: Policy) -> frozenset[str]:
    """Return the fields in which two policies differ, `reserved_scopes` too if that is among the differences."""
    names = {each.name for each in fields(Policy) if getattr(after, each.name) != getattr(before, each.name)}
    if (frozenset(after.scopes) ^ frozenset(before.scopes)) & RESERVED_SCOPES:
        names.add(RESERVED)
    return frozenset(names)


def widened_fields(
    after: Policy, before: Policy, expires_at: datetime | None = None, expired_at: datetime | None = None
) -> frozenset[str]:
    """Return the fields in which *after* allows more than *before*; the key now ends at *expires_at* (None: never)."""
    longer = expired_at is not None and (expires_at is None or expires_at > expired_at)
    return after.exceeds(before) | ({"expires_at"} if longer else set())


def _rights(caller: Caller, relations: Iterable[Relation]) -> list[Right]:
    found = (_TABLE.get((role, relation)) for role in caller.roles for relation in relations)
    return [right for right in found if right is not None]
