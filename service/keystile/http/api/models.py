"""What the management API takes: every field named, bounded, and none besides."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import CoreSchema, no_info_after_validator_function

from keystile.authority.alterations import MAX_GRACE
from keystile.authority.lifecycle import MAX_NAME
from keystile.claims import MAX_URI, SCOPE, URI, is_resource, is_scope, is_word
from keystile.delegation import MAX_DEPTH, MAX_NAMED
from keystile.network import MAX_ITEMS
from keystile.records import RevocationReason  # noqa: TC001 - pydantic reads it

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

_LIST = 50  # of one list that only this bounds
_MOST = 2**53 - 1
_NO_CONTROLS = r"[^\x00-\x1f\x7f-\x9f]*"
_EXPIRY = r"(never|[1-9][0-9]{0,3}[dy]|[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.]+(Z|[+-][0-9:]+)?)?)"


class _Fits:
    """A text that passes *check*, described by a pattern that may let more pass: not all can be said in one."""

    def __init__(self, check: Callable[[str], object], pattern: str, what: str) -> None:
        self._check, self._pattern, self._what = check, pattern, what

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401 - pydantic's
        return no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(core), "pattern": f"^{self._pattern}$"}

    def _checked(self, text: str) -> str:
        if not self._check(text):
            raise PydanticCustomError("text", "Should be {what}", {"what": self._what})
        return text


def _whole(value: object) -> object:
    """Return 7 for 7.0: JSON, and the schema language with it, knows one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_PRINTABLE = _Fits(str.isprintable, _NO_CONTROLS, "printable characters")
_WORD = _Fits(lambda text: not text or is_word(text), _NO_CONTROLS, "printable characters, without spaces around them")
_ADDRESS = r"[0-9A-Fa-f:.]+(/[0-9.]{1,15})?"
_ORIGIN = r"(\*\.)?[a-z0-9.-]+"
_ENDPOINT = r"(\*|[A-Z,-]+) /[^\x00-\x20]*"
_Short = Annotated[str, StringConstraints(min_length=1, max_length=256)]
_Shorts = Annotated[list[_Short], Field(max_length=_LIST)]
_Addresses = Annotated[
    list[Annotated[_Short, _Fits(re.compile(_ADDRESS).fullmatch, _ADDRESS, "an address or a CIDR")]],
    Field(max_length=MAX_ITEMS),
]
_Origins = Annotated[
    list[Annotated[_Short, _Fits(re.compile(_ORIGIN).fullmatch, _ORIGIN, "a host name, like app.example.com")]],
    Field(max_length=MAX_ITEMS),
]
_Endpoints = Annotated[
    list[Annotated[_Short, _Fits(re.compile(_ENDPOINT).fullmatch, _ENDPOINT, "methods and a path, like GET /v1/*")]],
    Field(max_length=MAX_ITEMS),
]
_Scope = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128),
    _Fits(is_scope, SCOPE, "one scope token (RFC 6749, appendix A.4)"),
]
_Audience = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_URI),
    _Fits(is_resource, URI, "an absolute URI without a fragment (RFC 8707, section 2)"),
]
_Project = Annotated[str, StringConstraints(min_length=1, max_length=256), _WORD]
_Tenant = Annotated[str, StringConstraints(max_length=256), _WORD]
_Actor = Annotated[str, StringConstraints(min_length=1, max_length=255), _WORD]
_Level = Annotated[str, StringConstraints(max_length=64), _WORD]
_Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME), _PRINTABLE]
_Username = Annotated[str, StringConstraints(min_length=1, max_length=255), _PRINTABLE]
_Expiry = Annotated[
    str,
    StringConstraints(min_length=2, max_length=40),
    _Fits(re.compile(_EXPIRY).fullmatch, _EXPIRY, "like 90d, 1y, never, or a date like 2027-01-31"),
]
_Number = Annotated[int, Field(ge=0, le=_MOST, strict=True), BeforeValidator(_whole)]
_Cursor = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
_Limit = Annotated[int, Field(ge=1, le=200, description="at most so many on a page", examples=[20])]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Nothing(_Model):
    """No parameters."""


class Capability(_Model):
    """What a service may let the key do; carried in the JWT, not enforced by Keystile."""

    resource: _Short = Field(description="what it is about, in the service's words", examples=["orders"])
    actions: _Shorts = Field(default_factory=list, description="what may be done to it", examples=[["read"]])
    constraints: dict[str, Any] = Field(
        default_factory=dict,
        max_length=_LIST,
        description="further conditions, in the service's words",
        examples=[{"region": "eu"}],
    )


class PolicyFields(_Model):
    """The fields of a policy; one left out restricts nothing, `null` takes a restriction away."""

    scopes: Annotated[list[_Scope], Field(max_length=_LIST)] | None = Field(
        None, description="what its JWTs may be for; none: nothing", examples=[["read", "write"]]
    )
    audiences: Annotated[list[_Audience], Field(max_length=_LIST)] | None = Field(
        None,
        description="whom its JWTs may be for, beside the deployment's default",
        examples=[["https://mcp.example.com/mcp"]],
    )
    projects: Annotated[list[_Project], Field(max_length=_LIST)] | None = Field(
        None, description="said in its JWTs; none: all projects", examples=[["website"]]
    )
    level: _Level | None = Field(
        None, description="a preset of limits that all keys of an owner share; an administrator's", examples=["user"]
    )
    tenant: _Tenant | None = Field(
        None, description="the tenant it belongs to, said in its JWTs; an administrator's", examples=["acme"]
    )
    requests_per_hour: _Number | None = Field(None, description="an administrator's", examples=[1000])
    requests_per_day: _Number | None = Field(None, description="an administrator's", examples=[10_000])
    requests_per_month: _Number | None = Field(None, description="an administrator's", examples=[300_000])
    cost_cents_per_month: _Number | None = Field(
        None, description="of the cost that services report; an administrator's", examples=[1000]
    )
    idle_days: Annotated[int, Field(ge=1, le=3650, strict=True), BeforeValidator(_whole)] | None = Field(
        None, description="it expires when it was not used for so long", examples=[90]
    )
    allowed_ips: _Addresses | None = Field(
        None, description="addresses and CIDRs it may be used from", examples=[["192.0.2.0/24", "2001:db8::/32"]]
    )
    allowed_origins: _Origins | None = Field(
        None, description="host names of pages that may use it", examples=[["app.example.com", "*.example.org"]]
    )
    require_tls: Annotated[bool, Field(strict=True)] | None = Field(
        None, description="refuse it where the client did not come by TLS", examples=[True]
    )
    allowed_endpoints: _Endpoints | None = Field(
        None, description="methods and paths, `*` one segment, `**` any rest", examples=[["GET /v1/**"]]
    )
    blocked_endpoints: _Endpoints | None = Field(
        None, description="written alike, and stronger than what is allowed", examples=[["* /v1/admin/**"]]
    )
    capabilities: Annotated[list[Capability], Field(max_length=_LIST)] | None = Field(
        None,
        description="carried in its JWTs, enforced by whoever reads them",
        examples=[[{"resource": "orders", "actions": ["read"]}]],
    )
    max_tokens_per_request: _Number | None = Field(None, description="carried in its JWTs", examples=[4096])
    max_concurrent_requests: _Number | None = Field(None, description="carried in its JWTs", examples=[4])
    may_act: Annotated[list[_Actor], Field(max_length=MAX_NAMED)] | None = Field(
        None,
        description="who may act for its owner: key ids, owners' ids or usernames; none: nobody; an administrator's",
        examples=[["k3v9x0q2m7ab", "service-account-agent"]],
    )
    act_depth: Annotated[int, Field(ge=1, le=MAX_DEPTH, strict=True), BeforeValidator(_whole)] | None = Field(
        None, description="how many of them may act one after the other; an administrator's", examples=[1]
    )


class NewKey(PolicyFields):
    """A key to issue."""

    name: _Name = Field(description="what people know it by", examples=["laptop"])
    expires: _Expiry | None = Field(
        None,
        description="`90d`, `1y`, `never`, or a date; left out: the deployment's default, within the calling key's own",
        examples=["90d"],
    )
    environment: Literal["live", "test"] = Field(
        "live", description="test keys are for deployments that accept them", examples=["live"]
    )


class NewKeyOf(NewKey):
    """A key to issue, for a user by name."""

    owner: _Username | None = Field(
        None, description="a username, service accounts included; left out: whoever calls", examples=["alice"]
    )


class KeyChange(PolicyFields):
    """What to change; what is left out stays."""

    name: _Name | None = Field(None, description="what people know it by", examples=["desk"])
    expires: _Expiry | None = Field(
        None, description="`90d` from now, `1y`, `never` or `null`, or a date", examples=["2030-01-31"]
    )


Seconds = Annotated[int, Field(ge=0, le=int(MAX_GRACE.total_seconds()), strict=True), BeforeValidator(_whole)]
Span = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,7}[smhd]?$")]


class Rotation(_Model):
    """How a secret is replaced."""

    grace: Seconds | Span = Field(
        "1d",
        description="for how long the present secret still works, 0 to 30 days: seconds, or a text like `12h`, `7d`",
        examples=["7d", 3600],
    )


class Revocation(_Model):
    """Why keys are revoked."""

    reason: RevocationReason = Field(
        "unspecified",  # type: ignore[assignment]  # pydantic takes the value
        description="as in certificates (RFC 5280, 5.3.1)",
        examples=["key_compromise"],
    )
    cascade: Annotated[bool, Field(strict=True)] = Field(
        default=False,
        description="also all it issued, whoever has that: an administrator's right, and slow",
        examples=[False],
    )


class ReportedUse(_Model):
    """What a service saw of a key's use."""

    cost_cents: _Number = Field(0, description="counts against the limit of the month", examples=[12])
    tokens: _Number = Field(0, description="as the service counts them", examples=[1500])
    bytes: _Number = Field(0, description="sent and received", examples=[20_480])
    errors: _Number = Field(0, description="requests that failed there", examples=[0])


class KeysToVerify(_Model):
    """Keys to verify."""

    keys: Annotated[list[Annotated[str, StringConstraints(max_length=200)]], Field(min_length=1, max_length=100)] = (
        Field(description="up to 100 API keys", examples=[["mcpkey_live_…"]])
    )


class Listing(_Model):
    """Which keys to list."""

    status: Literal["active", "suspended", "revoked", "expired"] | None = Field(
        None, description="only those of that status", examples=["active"]
    )
    owner: _Username | None = Field(None, description="only those of that username", examples=["alice"])
    tenant: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = Field(
        None, description="only those of that tenant", examples=["acme"]
    )
    name: _Name | None = Field(None, description="only those of that name", examples=["laptop"])
    limit: _Limit = 50
    cursor: _Cursor | None = Field(None, description="`next_cursor` of the page before")


class Range(_Model):
    """How many days back."""

    days: Annotated[int, Field(ge=1, le=400)] = Field(30, description="how many days back, today included")


class Page(_Model):
    """A page of events."""

    limit: _Limit = 50
    cursor: _Cursor | None = Field(None, description="`next_cursor` of the page before")
