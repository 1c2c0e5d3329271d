"""What the management API answers, for its OpenAPI document."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from keystile.http.api.models import PolicyFields


class FailedKey(BaseModel):
    """A key that could not be revoked."""

    key_id: str
    why: str


class Stopped(BaseModel):
    """What became of several keys."""

    revoked: list[str]
    pending: list[str]
    failed: list[FailedKey] = Field(default_factory=list)


class ShownKey(PolicyFields):
    """A key: never its secret, a hash or a digest."""

    model_config = ConfigDict(extra="allow")

    key_id: str
    name: str
    owner: str
    owner_id: str
    status: Literal["active", "suspended", "revoked", "expired"]
    environment: Literal["live", "test"]
    issued_at: str
    issued_by: str | None
    expires_at: str | None
    gen: int
    revoked_at: str | None = None
    revoked_reason: str | None = None
    rotated_by: str | None = None
    last_used_at: str | None = None
    last_used_ip: str | None = None
    old_secret_ends_at: str | None = None
    suspended_by: str | None = None
    algorithm: str | None = Field(None, description="of a public key: what it signs under")
    fingerprint: str | None = Field(None, description="of a public key: its RFC 7638 thumbprint")
    cascade: Stopped | None = None


class IssuedKey(ShownKey):
    """A new key or a new secret. `api_key` is shown this once; without it, `note` says how to get another secret."""

    api_key: str | None = None
    note: str | None = None


class StoppedKey(BaseModel):
    """A stop that was accepted while the store is away: the key is refused, its record will say so later."""

    key_id: str
    status: Literal["revoked", "suspended"]
    pending: Literal[True]
    cascade: Stopped | None = None


class KeyPage(BaseModel):
    """A page of keys; `next_cursor` is absent on the last."""

    keys: list[ShownKey]
    next_cursor: str | None = None


class CallerShown(BaseModel):
    """Who calls."""

    kind: str
    actor: str
    subject: str | None
    username: str | None
    roles: list[str]
    tenants: list[str]
    key_id: str | None = None


class Verified(BaseModel):
    """One of the presented keys, in order."""

    active: bool
    key_id: str | None = None
    owner: str | None = None
    owner_id: str | None = None
    scopes: list[str] | None = None
    expires_at: str | None = None


class VerifiedKeys(BaseModel):
    """What each of the presented keys is good for."""

    results: list[Verified]


class Reported(BaseModel):
    """Use by day, in all, on average, and when the key was last used."""

    model_config = ConfigDict(extra="allow")

    key_id: str
    days: list[dict[str, Any]]


class EventPage(BaseModel):
    """Audited events of a key, newest first."""

    events: list[dict[str, Any]]
    next_cursor: str | None = None


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str
    message: str


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str | None = None
    errors: list[FieldProblem] = Field(default_factory=list)
