"""Restrictions: what a key's policy may say, how it is stored, and when one policy allows less than another."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any

from keystile.errors import ConfigurationError

OWN_LIMITS = ("requests_per_hour", "requests_per_day", "requests_per_month", "cost_cents_per_month")
"""The limits of a key alone."""

DELEGATION = ("may_act", "act_depth")
"""Who may act for the key's owner, and how many of them one after the other."""

CARRIED = ("capabilities", "max_tokens_per_request", "max_concurrent_requests")
"""What a tenant may have defaults for: carried in the JWT, enforced by whoever reads it."""

Capability = Mapping[str, Any]
"""`{"resource": …, "actions": […], "constraints": {…}}`: carried in the JWT, enforced by the service that reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a key may do. Every field's default restricts nothing, but for lists of what is allowed.

    *scopes*: none means no scope at all. *audiences*: none means the default one alone. *may_act* names who may act for
    the owner, none meaning nobody, and *act_depth* how many one after the other (see `delegation`). *projects*,
    *allowed_ips* (CIDRs), *allowed_origins* (host names), *allowed_endpoints* (`GET /path/*`): none means any. Numbers
    of requests and cents are limits of this key alone; *level* names a preset that all keys of an owner share.
    *idle_days*: a key unused for so long expires. *capabilities*, *max_tokens_per_request* and
    *max_concurrent_requests* are carried in the JWT and enforced by whoever reads it.
    """

    scopes: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    level: str = ""
    tenant: str = ""
    requests_per_hour: int | None = None
    requests_per_day: int | None = None
    requests_per_month: int | None = None
    cost_cents_per_month: int | None = None
    idle_days: int | None = None
    allowed_ips: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    require_tls: bool = False
    allowed_endpoints: tuple[str, ...] = ()
    blocked_endpoints: tuple[str, ...] = ()
    capabilities: tuple[Capability, ...] = field(default=())
    max_tokens_per_request: int | None = None
    max_concurrent_requests: int | None = None
    may_act: tuple[str, ...] = ()
    act_depth: int = 1

    @property
    def is_limited(self) -> bool:
        """Tell whether this key has numbers of its own, or a level."""
        return bool(self.level) or self.has_own_limits

    @property
    def has_own_limits(self) -> bool:
        """Tell whether this key has a limit of its own: one of `OWN_LIMITS`."""
        return not (
            self.requests_per_hour is None
            and self.requests_per_day is None
            and self.requests_per_month is None
            and self.cost_cents_per_month is None
        )

    @property
    def carries(self) -> bool:
        """Tell whether a JWT has anything to tell of this policy beside its scopes."""
        return bool(self.projects or self.tenant or self.capabilities) or not (
            self.max_tokens_per_request is None and self.max_concurrent_requests is None
        )

    @property
    def has_endpoints(self) -> bool:
        """Tell whether the request's method and path matter."""
        return bool(self.allowed_endpoints or self.blocked_endpoints)

    @property
    def judges_requests(self) -> bool:
        """Tell whether anything about the request itself matters: its address, origin, transport, method or path."""
        return bool(self.allowed_ips or self.allowed_origins or self.require_tls or self.has_endpoints)

    def to_document(self) -> dict[str, Any]:
        """Return what is stored: only what is not the default."""
        # Compared with each field's own default: a limit of 0 is one, and to Python 0 is False.
        stored = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: [dict(item) if isinstance(item, Mapping) else item for item in value]
            if isinstance(value, tuple)
            else value
            for name, value in stored.items()
            if value != getattr(UNRESTRICTED, name)
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Policy:
        """Read what is stored; raises ValueError for what this version does not know or cannot read.

        An older process must not ignore a restriction that a newer one wrote.
        """
        unknown = document.keys() - _READ.keys()
        if unknown:
            raise ValueError(f"unknown restriction {min(unknown)[:40]!r}")
        return cls(**{name: _READ[name](value) for name, value in document.items()})

    def to_text(self) -> str:
        """Return the stored form as a text, "" if it restricts nothing."""
        document = self.to_document()
        return json.dumps(document, separators=(",", ":")) if document else ""

    @staticmethod
    @lru_cache(maxsize=1024)
    def from_text(text: str) -> Policy:
        """Read what `to_text` wrote: one object for equal texts, as most keys have one of a few policies."""
        return Policy.from_document(json.loads(text)) if text else UNRESTRICTED

    def narrows(self, before: Policy) -> frozenset[str]:
        """Return the fields in which this policy allows less than *before* did."""
        return frozenset(
            each.name
            for each in fields(self)
            if not _COVERS[each.name](getattr(self, each.name), getattr(before, each.name))
        )

    def exceeds(self, ceiling: Policy) -> frozenset[str]:
        """Return the fields in which this policy allows more than *ceiling*."""
        return ceiling.narrows(self)

    def over(self, default: Policy | None) -> Policy:
        """Return this policy, with what it leaves open and a JWT carries taken from *default*."""
        if default is None:
            return self
        own = {name: getattr(self, name) for name in CARRIED}
        return replace(self, **{name: getattr(default, name) for name in CARRIED if own[name] in (None, ())})

    def changed(self, changes: Mapping[str, Any]) -> Policy:
        """Return this policy with some fields replaced."""
        return replace(self, **changes)


UNRESTRICTED = Policy()


def shared(policy: Policy) -> Policy:
    """Return one object for equal policies: of 100,000 verdicts that are kept most have one of a few."""
    return policy if policy.capabilities else _shared(policy)  # which hold what cannot be hashed


@lru_cache(maxsize=1024)
def _shared(policy: Policy) -> Policy:
    return policy


def parse_tenant_defaults(text: str) -> dict[str, Policy]:
    """Read `{"tenant": {"max_tokens_per_request": 8000, …}}`, "" for none; raises `ConfigurationError`."""
    try:
        document = json.loads(text) if text else {}
        defaults = {str(tenant): Policy.from_document(fields) for tenant, fields in document.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigurationError("this is a JSON object of policies by tenant") from error
    beyond = {name for default in defaults.values() for name in default.to_document()} - set(CARRIED)
    if beyond:
        raise ConfigurationError(f"a tenant has defaults for {', '.join(CARRIED)} alone, not for {min(beyond)}")
    return defaults


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("a restriction is not a list of strings")
    return tuple(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a restriction is not a text")
    return value


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("a restriction is not a number")
    return value


def _flag(value: object) -> bool:
    if type(value) is not bool:
        raise ValueError("a restriction is neither true nor false")
    return value


def _capabilities(value: object) -> tuple[Capability, ...]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError("capabilities are no list of objects")
    return tuple(value)


def _holds(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    """Tell whether a list of what is allowed holds all of another."""
    return set(narrow) <= set(wide)


def _holds_or_any(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    """Tell the same where an empty list allows everything."""
    return not wide or (bool(narrow) and _holds(wide, narrow))


def _holds_networks(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    """Tell the same for CIDRs: each of *narrow* lies within one of *wide*."""
    if not wide or not narrow:
        return not wide
    return all(any(_holds_network(outer, inner) for outer in wide) for inner in narrow)


def _holds_network(outer: str, inner: str) -> bool:
    try:
        return outer == inner or _is_within(ipaddress.ip_network(inner), ipaddress.ip_network(outer))
    except ValueError:  # somebody wrote it behind our back: what cannot be compared must be the same
        return False


def _is_within(
    inner: ipaddress.IPv4Network | ipaddress.IPv6Network, outer: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    if isinstance(inner, ipaddress.IPv4Network) and isinstance(outer, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, ipaddress.IPv6Network) and isinstance(outer, ipaddress.IPv6Network):
        return inner.subnet_of(outer)
    return False


def _blocks_no_more(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    return set(wide) <= set(narrow)


def _at_least(wide: int | None, narrow: int | None) -> bool:
    return wide is None or (narrow is not None and narrow <= wide)


def _no_deeper(wide: int, narrow: int) -> bool:
    return narrow <= wide


def _same(wide: object, narrow: object) -> bool:
    return wide == narrow


def _same_or_none(wide: object, narrow: object) -> bool:
    return not wide or wide == narrow


def _no_stricter(wide: bool, narrow: bool) -> bool:  # noqa: FBT001 - a table of functions of two values
    return narrow or not wide


_READ: Mapping[str, Callable[[Any], Any]] = {
    "scopes": _strings,
    "audiences": _strings,
    "projects": _strings,
    "level": _text,
    "tenant": _text,
    "requests_per_hour": _number,
    "requests_per_day": _number,
    "requests_per_month": _number,
    "cost_cents_per_month": _number,
    "idle_days": _number,
    "allowed_ips": _strings,
    "allowed_origins": _strings,
    "require_tls": _flag,
    "allowed_endpoints": _strings,
    "blocked_endpoints": _strings,
    "capabilities": _capabilities,
    "max_tokens_per_request": _number,
    "max_concurrent_requests": _number,
    "may_act": _strings,
    "act_depth": _number,
}

# Does what stands first allow all that stands second? What cannot be compared must be the same.
_COVERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "scopes": _holds,
    "audiences": _holds,
    "projects": _holds_or_any,
    "level": _same_or_none,
    "tenant": _same,
    "requests_per_hour": _at_least,
    "requests_per_day": _at_least,
    "requests_per_month": _at_least,
    "cost_cents_per_month": _at_least,
    "idle_days": _at_least,
    "allowed_ips": _holds_networks,
    "allowed_origins": _holds_or_any,
    "require_tls": _no_stricter,
    "allowed_endpoints": _holds_or_any,
    "blocked_endpoints": _blocks_no_more,
    "capabilities": _same_or_none,
    "max_tokens_per_request": _at_least,
    "max_concurrent_requests": _at_least,
    "may_act": _holds,
    "act_depth": _no_deeper,
}
