"""What the management API takes: every field named, bounded, and none besides."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from keystile.records import RevocationReason  # noqa: TC001 - pydantic reads it

_LIST = 50
_MOST = 2**53 - 1
Text = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Texts = Annotated[list[Text], Field(max_length=_LIST)]
Number = Annotated[int, Field(ge=0, le=_MOST, strict=True)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Expiry = Annotated[
    str, StringConstraints(min_length=1, max_length=40), Field(description="`90d`, `1y`, `never`, or a date")
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Capability(_Model):
    """What a service may let the key do; carried in the JWT, not enforced by Keystile."""

    resource: Text
    actions: Texts = Field(default_factory=list)
    constraints: dict[str, Any] = Field(default_factory=dict, max_length=_LIST)


class PolicyFields(_Model):
    """The fields of a policy; one left out restricts nothing, `null` takes a restriction away."""

    scopes: Texts | None = None
    audiences: Annotated[list[Annotated[str, StringConstraints(max_length=512)]], Field(max_length=_LIST)] | None = None
    projects: Texts | None = None
    level: Annotated[str, StringConstraints(max_length=64)] | None = None
    tenant: Annotated[str, StringConstraints(max_length=256)] | None = None
    requests_per_hour: Number | None = None
    requests_per_day: Number | None = None
    requests_per_month: Number | None = None
    cost_cents_per_month: Number | None = None
    idle_days: Annotated[int, Field(ge=1, le=3650, strict=True)] | None = None
    allowed_ips: Texts | None = None
    allowed_origins: Texts | None = None
    require_tls: Annotated[bool, Field(strict=True)] | None = None
    allowed_endpoints: Texts | None = None
    blocked_endpoints: Texts | None = None
    capabilities: Annotated[list[Capability], Field(max_length=_LIST)] | None = None
    max_tokens_per_request: Number | None = None
    max_concurrent_requests: Number | None = None


class NewKey(PolicyFields):
    """A key to issue; `expires` left out means the deployment's default."""

    name: Name
    expires: Expiry | None = None
    environment: Literal["live", "test"] = "live"


class NewKeyOf(NewKey):
    """A key to issue for *owner*, a username; left out, for whoever calls."""

    owner: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None


class KeyChange(PolicyFields):
    """What to change; what is left out stays."""

    name: Name | None = None
    expires: Expiry | None = None


class Rotation(_Model):
    """How long the present secret still works, in seconds: 0 to 30 days."""

    grace_seconds: Annotated[int, Field(ge=0, le=30 * 86_400, strict=True)] = 86_400


class Revocation(_Model):
    """Why."""

    reason: RevocationReason = Field("unspecified")  # type: ignore[assignment]  # pydantic takes the value
    cascade: Annotated[
        bool, Field(strict=True, description="also all it issued, whoever has that: an administrator's right, and slow")
    ] = False


class ReportedUse(_Model):
    """What a service saw of a key's use."""

    cost_cents: Number = 0
    tokens: Number = 0
    bytes: Number = 0
    errors: Number = 0


class KeysToVerify(_Model):
    """Up to 100 keys."""

    keys: Annotated[list[Annotated[str, StringConstraints(max_length=200)]], Field(min_length=1, max_length=100)]


class Listing(_Model):
    """Which keys to list; `cursor` is what the page before ended with."""

    status: Literal["active", "suspended", "revoked", "expired"] | None = None
    owner: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None
    tenant: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    name: Name | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None


class Range(_Model):
    """How many days back."""

    days: Annotated[int, Field(ge=1, le=400)] = 30


class Page(_Model):
    """A page of events, newest first."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None
