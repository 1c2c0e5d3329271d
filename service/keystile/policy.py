"""The one decision behind every door: whether this record, of this owner, may be used for this request now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keystile.errors import Reason
from keystile.limits import Levels
from keystile.records import KeyRecord, Owner, Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

RESERVED_SCOPES = frozenset({"keys:read", "keys:write", "keys:admin", "introspect"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the deployment says about every key. *audiences* and *scopes* of None mean: any.

    *forbidden_audiences* (the realm issuer) and every URL below them are never allowed.
    """

    default_audience: str
    accept_test_keys: bool = True
    audiences: frozenset[str] | None = None
    forbidden_audiences: tuple[str, ...] = ()
    scopes: frozenset[str] | None = None
    levels: Levels = field(default_factory=Levels)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """What is known of a request, and what it asks for. *address* is the client's, behind trusted proxies.

    *is_counted*: it spends the limits of the key, as all do but introspection.
    """

    rules: Rules
    door: str = ""
    address: str = ""
    method: str = ""
    path: str = ""
    client_id: str | None = None
    scopes: tuple[str, ...] = ()
    audience: str | None = None
    actor: str | None = None
    is_counted: bool = True
    request_id: str = field(default="", compare=False)


def decide(record: KeyRecord, owner: Owner, context: RequestContext, now: datetime) -> Reason | None:
    """Return None if the proved key may be used for this request, else why not.

    Whoever calls this has proved the secret before, so only the holder of a key can cause these answers.
    """
    named_another = _check_client_id(record, context)
    return named_another or decide_standing(record, owner, context.rules, now) or decide_asked(record, context)


def decide_standing(record: KeyRecord, owner: Owner, rules: Rules, now: datetime) -> Reason | None:
    """Return why the key may not be used at all, None if it may: the half of `decide` that every request shares.

    Of what it looks at only the clock changes, at the key's expiry: until then None stays None.
    """
    for check in _STANDING:
        reason = check(record, owner, rules, now)
        if reason is not None:
            return reason
    return None


def decide_asked(record: KeyRecord, context: RequestContext) -> Reason | None:
    """Return why the key may not be used for what this request is and asks, None if it may."""
    for check in _ASKED:
        reason = check(record, context)
        if reason is not None:
            return reason
    return None


def audience_is_allowed(audience: str, record_audiences: tuple[str, ...], rules: Rules) -> bool:
    """Tell whether a JWT for *audience* may be made: the default one always, others by key and deployment."""
    if audience == rules.default_audience:
        return True
    return audience in record_audiences and may_be_listed(audience, rules)


def may_be_listed(audience: str, rules: Rules) -> bool:
    """Tell whether the deployment lets *audience* stand on a key's list."""
    if rules.audiences is not None and audience not in rules.audiences:
        return False
    return not any(
        audience == base or audience.startswith((f"{base}/", f"{base}?")) for base in rules.forbidden_audiences
    )


def held_scopes(record: KeyRecord, rules: Rules) -> tuple[str, ...]:
    """Return the scopes this key still holds, reserved ones included."""
    if rules.scopes is None:
        return record.policy.scopes
    return tuple(scope for scope in record.policy.scopes if scope in rules.scopes | RESERVED_SCOPES)


def _check_status(record: KeyRecord, _owner: Owner, _rules: Rules, _now: datetime) -> Reason | None:
    return _BY_STATUS[record.status]


def _check_expiry(record: KeyRecord, _owner: Owner, _rules: Rules, now: datetime) -> Reason | None:
    return Reason.EXPIRED if record.is_expired(now) else None


def _check_owner(_record: KeyRecord, owner: Owner, _rules: Rules, _now: datetime) -> Reason | None:
    return None if owner.enabled else Reason.OWNER_DISABLED


def _check_environment(record: KeyRecord, _owner: Owner, rules: Rules, _now: datetime) -> Reason | None:
    return Reason.TEST_KEY if record.environment == "test" and not rules.accept_test_keys else None


def _check_level(record: KeyRecord, _owner: Owner, rules: Rules, _now: datetime) -> Reason | None:
    return None if rules.levels.knows(record.policy) else Reason.LEVEL_UNKNOWN  # its limits are not known either


def _check_client_id(record: KeyRecord, context: RequestContext) -> Reason | None:
    named = context.client_id
    return Reason.ID_MISMATCH if named is not None and named != record.key_id else None


def _check_audience(record: KeyRecord, context: RequestContext) -> Reason | None:
    asked = context.audience
    if asked is None or audience_is_allowed(asked, record.policy.audiences, context.rules):
        return None
    return Reason.AUDIENCE_DENIED


def _check_scopes(record: KeyRecord, context: RequestContext) -> Reason | None:
    if not context.scopes:
        return None
    held = held_scopes(record, context.rules)
    allowed = all(scope in held and not scope.startswith("keys:") for scope in context.scopes)
    return None if allowed else Reason.SCOPE_DENIED


_BY_STATUS = {Status.ACTIVE: None, Status.SUSPENDED: Reason.SUSPENDED, Status.REVOKED: Reason.REVOKED}

_STANDING: tuple[Callable[[KeyRecord, Owner, Rules, datetime], Reason | None], ...] = (
    _check_status,
    _check_expiry,
    _check_owner,
    _check_environment,
    _check_level,
)
_ASKED: tuple[Callable[[KeyRecord, RequestContext], Reason | None], ...] = (
    _check_client_id,
    _check_audience,
    _check_scopes,
)
