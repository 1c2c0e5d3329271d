"""What a JWT says: audience, scopes and claims of one exchange (RFC 9068, section 2.2)."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from keystile.errors import PolicyRefusedError, RequestError
from keystile.policy import RESERVED_SCOPES, held_scopes

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from keystile.owner_claims import OwnerClaims
    from keystile.policy import RequestContext
    from keystile.records import KeyRecord, Owner
    from keystile.restrictions import Policy

MAX_URI = 512
_CLOCKS_APART = 60  # seconds
MAX_JWT = 4_096  # bytes: half of what doors and gateways take for a header, whoever writes what the owner has
_MAX_CARRIED = 2_048  # bytes of a policy: with issuer, audience and an RSA signature it then fits
SCOPE = r"[\x21\x23-\x5b\x5d-\x7e]{1,128}"  # RFC 6749, appendix A.4
URI = r"[a-zA-Z][a-zA-Z0-9+.-]*:[\x21\x24-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]+"
_SCOPE = re.compile(SCOPE)
_MAX_SCOPES = 50
_MAX_WORD = 256
_URI = re.compile(URI)


@dataclass(frozen=True, slots=True)
class Grant:
    """What one exchange gives: exactly one audience, and scopes (none: the JWT has no `scope`)."""

    audience: str
    scopes: tuple[str, ...]


def grant(record: KeyRecord, owner: Owner, context: RequestContext) -> Grant:
    """Return what *record* gives for a request that `decide` allowed. Reserved scopes come only by name."""
    audience = context.audience or context.rules.default_audience
    if context.scopes:
        return Grant(audience, context.scopes)
    held = held_scopes(record, owner, context.rules)
    return Grant(audience, tuple(scope for scope in held if scope not in RESERVED_SCOPES))


def claims_of(
    record: KeyRecord,
    owner: Owner,
    granted: Grant,
    issuer: str,
    now: datetime,
    ttl: timedelta,
    *,
    tenant_default: Policy | None = None,
    of_owner: OwnerClaims | None = None,
) -> dict[str, Any]:
    """Return the claims of a JWT that outlives neither *ttl* nor its key.

    What the key's policy does not say of what is carried, *tenant_default* says. *of_owner*: what is told of the owner.
    """
    issued_at = int(now.timestamp())
    if issued_at <= owner.not_before < issued_at + _CLOCKS_APART:
        issued_at = owner.not_before + 1  # this one is for after the sign-out, which kills what is of its very second
    expires_at = now + ttl if record.expires_at is None else min(now + ttl, record.expires_at)
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": owner.id,
        "aud": granted.audience,
        "exp": int(expires_at.timestamp()),
        "iat": issued_at,
        "jti": secrets.token_hex(16),
        "client_id": record.key_id,
        "gen": record.gen,
        "env": record.environment,
    }
    if granted.scopes:
        claims["scope"] = " ".join(granted.scopes)
    if record.policy.carries:
        claims |= _carried(record.policy.over(tenant_default))
    return {**of_owner.of(owner), **claims} if of_owner else claims  # whatever it tells, ours stand


def _carried(policy: Policy) -> dict[str, Any]:
    """Return what a JWT tells of its key's policy, for the service that reads it: Keystile enforces none of it."""
    constraints = {
        "max_tokens_per_request": policy.max_tokens_per_request,
        "max_concurrent_requests": policy.max_concurrent_requests,
    }
    carried: dict[str, Any] = {
        "projects": list(policy.projects),
        "tenant": policy.tenant,
        "capabilities": [dict(capability) for capability in policy.capabilities],
        "constraints": {name: value for name, value in constraints.items() if value is not None},
    }
    return {name: value for name, value in carried.items() if value}


def parse_scope(text: str) -> tuple[str, ...]:
    """Read a `scope` parameter (RFC 6749, 3.3), duplicates dropped; raises `invalid_scope`."""
    scopes = tuple(dict.fromkeys(text.split(" "))) if text else ()
    if len(scopes) > _MAX_SCOPES or not all(_SCOPE.fullmatch(scope) for scope in scopes):
        raise RequestError("invalid_scope", "scope is a space-separated list of scope tokens")
    return scopes


def parse_resource(text: str) -> str:
    """Check a `resource` or `audience` parameter: an absolute URI without fragment (RFC 8707, section 2)."""
    if len(text) > MAX_URI or not _URI.fullmatch(text) or not _splits(text):
        raise RequestError("invalid_target", "resource is an absolute URI without a fragment")
    return text


def check_claims(policy: Policy) -> None:
    """Raise a `PolicyRefusedError` that names the field, if a JWT could not say what is new in a policy."""
    for field, (fits, what) in _CLAIMS.items():
        said = getattr(policy, field)
        for text in (said,) if isinstance(said, str) and said else said:
            if not fits(text):
                raise PolicyRefusedError(f"{field}: {what}", field)
    carried = {**_carried(policy), "scope": " ".join(policy.scopes)}
    if len(json.dumps(carried)) > _MAX_CARRIED:
        largest = max(carried, key=lambda name: len(json.dumps(carried[name])))
        raise PolicyRefusedError(
            f"a JWT would be larger than {MAX_JWT} bytes", "scopes" if largest == "scope" else largest
        )


def is_scope(text: str) -> bool:
    """Tell whether *text* is one scope token."""
    return _is_good(parse_scope, text, (text,))


def is_resource(text: str) -> bool:
    """Tell whether *text* is an absolute URI without fragment."""
    return _is_good(parse_resource, text, text)


def is_word(text: str) -> bool:
    """Tell whether *text* is what a tenant or a project may be called: printable, no spaces around it."""
    return 0 < len(text) <= _MAX_WORD and text.isprintable() and text == text.strip()


def _is_good(parse: Callable[[str], object], text: str, read: object) -> bool:
    try:
        return parse(text) == read
    except RequestError:
        return False


_CLAIMS: dict[str, tuple[Callable[[str], bool], str]] = {
    "scopes": (is_scope, "each is one scope token, without spaces, quotes and backslashes"),
    "audiences": (is_resource, "each is an absolute URI without a fragment"),
    "projects": (is_word, "each is 1 to 256 printable characters"),
    "level": (is_word, "it is printable characters"),
    "tenant": (is_word, "it is 1 to 256 printable characters"),
}


def _splits(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme and (parts.netloc or parts.path))
