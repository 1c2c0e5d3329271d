"""The one decision behind every door: whether this record, of this owner, may be used for this request now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keystile.delegation import judge_actors
from keystile.errors import Reason
from keystile.limits import Levels
from keystile.network import Facts, judge_request
from keystile.owner_claims import OwnerClaims
from keystile.records import KeyRecord, Owner, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime, timedelta

    from keystile.delegation import Actor
    from keystile.restrictions import Policy

API_SCOPES = frozenset({"keys:read", "keys:write", "keys:admin"})
INTROSPECT = "introspect"
RESERVED_SCOPES = API_SCOPES | {INTROSPECT}
KEY_ADMIN = "keystile:key-admin"
TENANT_ADMIN = "keystile:tenant-admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the deployment says about every key. *audiences* and *scopes* of None mean: any.

    *forbidden_audiences* (the realm issuer) and every URL below them are never allowed. *api_audience* is the
    management API's. *scope_roles* names, for scopes that count only while the owner holds it, a role or group as
    `Directory.roles` writes it. *knows_roles*: the store can tell what an owner holds. *longest_life*: no key is given
    more from now on; None: any. *owner_claims*: what JWTs tell of owners.
    """

    default_audience: str
    api_audience: str = ""
    accept_test_keys: bool = True
    audiences: frozenset[str] | None = None
    forbidden_audiences: tuple[str, ...] = ()
    scopes: frozenset[str] | None = None
    scope_roles: Mapping[str, str] = field(default_factory=dict, hash=False)
    knows_roles: bool = False
    tenant_defaults: Mapping[str, Policy] = field(default_factory=dict, hash=False)
    levels: Levels = field(default_factory=Levels)
    longest_life: timedelta | None = None
    owner_claims: OwnerClaims = field(default_factory=OwnerClaims)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """What is known of a request, and what it asks for. *address* is the client's, behind trusted proxies.

    *facts* are what a trusted proxy said of it, and alone what a policy on requests is judged by. *at_gateway*: the JWT
    goes to the upstream of the request that was judged, not to the client.
    *actors*: who acts for the key's owner, the one who asks first; none where the owner does.
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
    actors: tuple[Actor, ...] = ()
    facts: Facts | None = None
    at_gateway: bool = False
    user_agent: str = field(default="", compare=False)
    is_counted: bool = True
    request_id: str = field(default="", compare=False)
    trace_id: str = field(default="", compare=False)


def decide(
    record: KeyRecord, owner: Owner, context: RequestContext, now: datetime, idles_at: float | None = None
) -> Reason | None:
    """Return None if the proved key may be used for this request, else why not.

    Whoever calls this has proved the secret before, so only the holder of a key can cause these answers.
    """
    named_another = _check_client_id(record, context)
    standing = named_another or decide_standing(record, owner, context.rules, now, idles_at)
    return standing or decide_asked(record, owner, context)


def decide_standing(
    record: KeyRecord, owner: Owner, rules: Rules, now: datetime, idles_at: float | None = None
) -> Reason | None:
    """Return why the key may not be used at all, None if it may: the half of `decide` that every request shares.

    Of what it looks at only the clock changes, at the key's expiry and when it has idled for too long (*idles_at*,
    epoch seconds): until then None stays None.
    """
    for check in _STANDING:
        reason = check(record, owner, rules, now)
        if reason is not None:
            return reason
    return Reason.IDLE if idles_at is not None and now.timestamp() >= idles_at else None


def decide_asked(record: KeyRecord, owner: Owner, context: RequestContext) -> Reason | None:
    """Return why the key may not be used for what this request is and asks, None if it may."""
    for check in _ASKED:
        reason = check(record, context)
        if reason is not None:
            return reason
    if context.actors:
        reason = _check_actors(record, context)
        if reason is not None:
            return reason
    return _check_scopes(record, owner, context)


def audience_is_allowed(audience: str, record_audiences: tuple[str, ...], rules: Rules) -> bool:
    """Tell whether a JWT for *audience* may be made: the default one always, others by key and deployment."""
    if audience == rules.default_audience:
        return True
    return audience in record_audiences and may_be_listed(audience, rules)


def may_be_listed(audience: str, rules: Rules) -> bool:
    """Tell whether the deployment lets *audience* stand on a key's list."""
    if rules.audiences is not None and audience not in rules.audiences:
        return False
    return not is_at_or_below(audience, rules.forbidden_audiences)


def is_at_or_below(url: str, bases: Iterable[str]) -> bool:
    """Tell whether *url* is one of *bases* or below one."""
    return any(url == base or url.startswith((f"{base}/", f"{base}?")) for base in bases)


def held_scopes(record: KeyRecord, owner: Owner, rules: Rules) -> tuple[str, ...]:
    """Return the scopes this key still holds, reserved ones included: without those its owner may not have now."""
    if rules.scopes is None and not _binds_scopes(record, rules):
        return record.policy.scopes
    return tuple(
        scope
        for scope in record.policy.scopes
        if (rules.scopes is None or scope in rules.scopes or scope in RESERVED_SCOPES)
        and _owner_may_have(scope, record, owner, rules)
    )


def needs_roles(record: KeyRecord, rules: Rules) -> bool:
    """Tell whether what this key holds, or its JWTs tell, depends on what its owner holds."""
    if rules.knows_roles and rules.owner_claims.need_roles:
        return True
    return _binds_scopes(record, rules) and any(_roles_for(scope, record, rules) for scope in record.policy.scopes)


def _binds_scopes(record: KeyRecord, rules: Rules) -> bool:
    """Tell whether roles may matter to the scopes of that key: to most they do not, and this is asked at each use."""
    return rules.knows_roles and (bool(rules.scope_roles) or "keys:admin" in record.policy.scopes)


def lacks_facts(record: KeyRecord, owner: Owner, rules: Rules) -> bool:
    """Tell whether *owner* was read by somebody who wanted to know less of it than these rules do."""
    if owner.roles is None and needs_roles(record, rules):
        return True
    return bool(rules.owner_claims) and not rules.owner_claims.are_known(owner)


def _owner_may_have(scope: str, record: KeyRecord, owner: Owner, rules: Rules) -> bool:
    # Not read is not held: whoever reads an owner for this key reads its roles too.
    wanted = _roles_for(scope, record, rules) if rules.knows_roles else ()
    return not wanted or any(role in (owner.roles or ()) for role in wanted)


def _roles_for(scope: str, record: KeyRecord, rules: Rules) -> tuple[str, ...]:
    """Return the roles any one of which lets an owner have *scope*; none: everybody may."""
    if scope == "keys:admin":
        return (KEY_ADMIN, TENANT_ADMIN) if record.policy.tenant else (KEY_ADMIN,)
    wanted = rules.scope_roles.get(scope)
    return () if wanted is None else (wanted,)


def _check_status(record: KeyRecord, _owner: Owner, _rules: Rules, _now: datetime) -> Reason | None:
    return _BY_STATUS[record.status]


def _check_expiry(record: KeyRecord, _owner: Owner, _rules: Rules, now: datetime) -> Reason | None:
    if not record.is_expired(now):
        return None
    by_earlier = any(secret.gen == record.gen for secret in record.earlier)
    return Reason.SECRET_ENDED if by_earlier else Reason.EXPIRED


def _check_owner(_record: KeyRecord, owner: Owner, _rules: Rules, _now: datetime) -> Reason | None:
    return None if owner.enabled else Reason.OWNER_DISABLED


def _check_environment(record: KeyRecord, _owner: Owner, rules: Rules, _now: datetime) -> Reason | None:
    return Reason.TEST_KEY if record.environment == "test" and not rules.accept_test_keys else None


def _check_level(record: KeyRecord, _owner: Owner, rules: Rules, _now: datetime) -> Reason | None:
    return None if rules.levels.knows(record.policy) else Reason.LEVEL_UNKNOWN  # its limits are not known either


def _check_client_id(record: KeyRecord, context: RequestContext) -> Reason | None:
    named = context.client_id
    return Reason.ID_MISMATCH if named is not None and named != record.key_id else None


def _check_request(record: KeyRecord, context: RequestContext) -> Reason | None:
    if not record.policy.judges_requests:
        return None
    return judge_request(record.policy, context.facts, at_gateway=context.at_gateway)


def _check_audience(record: KeyRecord, context: RequestContext) -> Reason | None:
    asked = context.audience
    if asked is None:
        return None
    if asked == context.rules.api_audience:  # no list names it: the scopes do
        return None if API_SCOPES.intersection(record.policy.scopes) else Reason.AUDIENCE_DENIED
    return None if audience_is_allowed(asked, record.policy.audiences, context.rules) else Reason.AUDIENCE_DENIED


def _check_actors(record: KeyRecord, context: RequestContext) -> Reason | None:
    # The attack: an agent issues keys of its own in the owner's name, and these outlive every right it had.
    if context.audience is not None and context.audience == context.rules.api_audience:
        return Reason.AUDIENCE_DENIED
    return judge_actors(record.policy, context.actors)


def _check_scopes(record: KeyRecord, owner: Owner, context: RequestContext) -> Reason | None:
    if not context.scopes:
        return None
    held = held_scopes(record, owner, context.rules)
    for_api = context.audience is not None and context.audience == context.rules.api_audience
    allowed = all(scope in held and (for_api or not scope.startswith("keys:")) for scope in context.scopes)
    return None if allowed else Reason.SCOPE_DENIED


_BY_STATUS = {
    Status.ACTIVE: None,
    Status.SUSPENDED: Reason.SUSPENDED,
    Status.REVOKED: Reason.REVOKED,
    Status.EXPIRED: Reason.EXPIRED,
}

_STANDING: tuple[Callable[[KeyRecord, Owner, Rules, datetime], Reason | None], ...] = (
    _check_status,
    _check_expiry,
    _check_owner,
    _check_environment,
    _check_level,
)
_ASKED: tuple[Callable[[KeyRecord, RequestContext], Reason | None], ...] = (
    _check_client_id,
    _check_request,  # before what is asked: a key used from elsewhere learns nothing of what it may ask for
    _check_audience,
)
