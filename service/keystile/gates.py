"""Gates as their operator writes them down (TOML): each the verify door with an audience and scopes of its own."""

from __future__ import annotations

import re
import tomllib
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from keystile.claims import is_resource, is_scope
from keystile.durations import duration_text, parse_duration
from keystile.policy import RESERVED_SCOPES

Convention = Literal["x-forwarded", "x-original", "path"]
MOST_GATES = 100
MOST_SCOPES = 20  # a challenge that names them all fits into a header
LONGEST_CACHE = timedelta(seconds=60)  # whoever keeps a verdict hears of no revocation meanwhile
BUILT_IN = frozenset({"nginx"})
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
# No underscores: behind CGI and WSGI `X_User` and `X-User` are one header, and a gateway deletes only one of them.
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}", re.ASCII)
# What a gateway or server gives a meaning to, or this answer holds already: an identity in one of these would either be
# lost on the way or change the request. `Authorization` is the JWT's, which so replaces the key that came in it.
_TAKEN = re.compile(
    r"""age|authorization|connection|cookie|date|etag|expect|expires|forwarded|host|keep-alive|location|origin|pragma
    |range|ratelimit.*|referer|retry-after|server|set-cookie|te|traceparent|tracestate|trailer|transfer-encoding|upgrade
    |user-agent|vary|via|warning|www-authenticate|x-api-key|x-auth-status|x-real-ip|x-request-id|cache-control
    |(accept|access-control|content|if|proxy|sec|x-accel|x-forwarded|x-original|x-rewrite)(-.*)?""",
    re.IGNORECASE | re.VERBOSE,
)
_STRICT = ConfigDict(frozen=True, extra="forbid")


def _check_header(name: str) -> str:
    if not _HEADER.fullmatch(name):
        raise ValueError(f"{name[:70]!r} is no name of a header: letters, digits and hyphens, at most 64")
    if _TAKEN.fullmatch(name):
        raise ValueError(f"{name} has a meaning of its own")
    return name


def _check_audience(audience: str) -> str:
    if not is_resource(audience):
        raise ValueError("it is an absolute URI without a fragment")
    return audience


def _check_link(url: str) -> str:
    # It goes into a quoted string of a header.
    if not is_resource(url) or not url.startswith(("https://", "http://")) or '"' in url or "\\" in url:
        raise ValueError("it is the URL of a resource's metadata")
    return url


def _check_scope(scope: str) -> str:
    if not is_scope(scope):
        raise ValueError("each is one scope token, without spaces, quotes and backslashes")
    if scope in RESERVED_SCOPES:
        raise ValueError(f"{scope} is never given for a gate")
    return scope


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("it is no name of a gate: small letters, digits, - and _, at most 63")
    if name in BUILT_IN:
        raise ValueError("it is built in, and cannot be another gate")
    return name


def _read_cache(value: object) -> timedelta:
    read = parse_duration(str(value)) if type(value) in (str, int) else None
    if read is None or read > LONGEST_CACHE:
        raise ValueError(f"it is like 5s, at most {duration_text(LONGEST_CACHE)}")
    return read


HeaderName = Annotated[str, AfterValidator(_check_header)]


class IdentityHeaders(BaseModel):
    """What the identity headers of one gate are called."""

    model_config = _STRICT

    subject: HeaderName = "X-Auth-Subject"
    username: HeaderName = "X-Auth-Username"
    key_id: HeaderName = "X-Auth-Key-Id"
    scope: HeaderName = "X-Auth-Scope"
    tenant: HeaderName = "X-Auth-Tenant"
    actor: HeaderName = "X-Auth-Actor"

    @model_validator(mode="after")
    def _check_unique(self) -> IdentityHeaders:
        names = [name.lower() for name in self.names]
        if len(set(names)) < len(names):
            raise ValueError("two identity headers have one name")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order of the fields."""
        return (self.subject, self.username, self.key_id, self.scope, self.tenant, self.actor)


class Gate(BaseModel):
    """One gate: whom its JWTs are for, which scopes they must have, and how it answers.

    *resource_metadata*: where the resource describes itself (RFC 9728); challenges name it. *cache*: for how long a
    gateway may keep its yes; none by default. *method_and_path*: as `KEYSTILE_FORWARDED_HEADERS`, which it stands in
    for.
    """

    model_config = _STRICT

    audience: Annotated[str, AfterValidator(_check_audience)]
    resource_metadata: Annotated[str, AfterValidator(_check_link)] = ""
    scopes: tuple[Annotated[str, AfterValidator(_check_scope)], ...] = Field((), max_length=MOST_SCOPES)
    answers: Literal["plain", "nginx"] = "plain"
    method_and_path: Convention | None = None
    cache: Annotated[timedelta, BeforeValidator(_read_cache)] = timedelta(0)
    headers: IdentityHeaders = IdentityHeaders()


class _File(BaseModel):
    model_config = _STRICT

    gates: dict[Annotated[str, AfterValidator(_check_name)], Gate] = Field({}, max_length=MOST_GATES)


def read_gates(text: str) -> tuple[dict[str, Gate], list[str]]:
    """Return the gates by their names, and every fault, each with its place in the file; with faults no gates."""
    try:
        return _File.model_validate(tomllib.loads(text)).gates, []
    except ValidationError as error:
        return {}, [_told(fault) for fault in error.errors(include_input=False, include_url=False)]
    except ValueError as error:  # tomllib's, which says the line
        return {}, [str(error)]


def _told(fault: Any) -> str:  # noqa: ANN401 - pydantic's dictionary
    parts = [str(part) for part in fault["loc"] if part != "[key]"]
    place = ".".join(part if part.replace("-", "_").isidentifier() or part.isdigit() else repr(part) for part in parts)
    return f"{place}: {_WORDS.get(fault['type']) or fault['msg'].removeprefix('Value error, ')}"


_WORDS = {"missing": "it is needed", "extra_forbidden": "there is no such field"}
