"""Every exception Keystile raises on purpose, and the reasons a presented key can be refused for.

KeystileError
├── KeyRefusedError         the presented credential proves nothing, or its key may not be used
├── RequestError            the request itself is wrong; the caller may know why
├── RightsError             the caller is known, and may not do this: 403
├── CannotTellError         something that would know did not answer: 503, never 401
│   ├── StillSearchingError
│   └── EventsLostError
├── TooManyFailuresError    this address spent its failures: 429
├── LimitReachedError       a limit of the key, or of its owner's level, is spent: 429
├── ChangeRefusedError      a change to a key or owner is not possible
│   ├── OwnerUnknownError
│   ├── KeyUnknownError
│   ├── TooManyKeysError
│   ├── PolicyRefusedError
│   ├── PreconditionError
│   ├── RequestReusedError
│   ├── RecordTooLargeError
│   └── AttributesUndeclaredError
└── ConfigurationError      settings or a deployment that cannot work
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Reason(StrEnum):
    """Why a presented credential was refused: for the audit log and the metrics, never for the caller."""

    MALFORMED = "malformed"
    FORGED = "forged"
    UNKNOWN = "unknown"
    WRONG_SECRET = "wrong_secret"  # noqa: S105 - a reason's name
    UNREADABLE = "unreadable"
    DUPLICATE = "duplicate_key_id"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    EXPIRED = "expired"
    SECRET_ENDED = "secret_ended"  # noqa: S105
    CHANGE_UNDONE = "change_undone"
    IDLE = "idle"
    OWNER_DISABLED = "owner_disabled"
    TEST_KEY = "test_key"
    ID_MISMATCH = "id_mismatch"
    AUDIENCE_DENIED = "audience_denied"
    SCOPE_DENIED = "scope_denied"
    ACTOR_DENIED = "actor_denied"
    CHAIN_TOO_LONG = "chain_too_long"
    POLICY_UNVERIFIABLE = "policy_unverifiable"
    ADDRESS_DENIED = "address_denied"
    ORIGIN_DENIED = "origin_denied"
    TLS_REQUIRED = "tls_required"
    ENDPOINT_DENIED = "endpoint_denied"
    GATEWAY_ONLY = "gateway_only"
    LEVEL_UNKNOWN = "level_unknown"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXCEEDED = "quota_exceeded"
    BAD_SIGNATURE = "bad_signature"
    ASSERTION_REFUSED = "assertion_refused"
    NONCE_REFUSED = "nonce_refused"
    REPLAYED = "replayed"
    JWT_INVALID = "jwt_invalid"
    JWT_KILLED = "jwt_killed"
    JWT_TOO_LARGE = "jwt_too_large"


class KeystileError(Exception):
    """Root of all errors raised on purpose."""


class KeyRefusedError(KeystileError):
    """A presented credential was refused; *reason* stays inside, callers see one uniform answer."""

    def __init__(self, reason: Reason, *, key_id: str | None = None, owner: str | None = None) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.key_id = key_id
        self.owner = owner


@dataclass(slots=True)
class RequestError(KeystileError):
    """A request that cannot be answered as asked: *error* is the wire word, *description* never holds a key."""

    error: str
    description: str
    status: int = 400

    def __str__(self) -> str:
        """Return the wire word and its description."""
        return f"{self.error}: {self.description}"


class RightsError(KeystileError):
    """A caller that is known may not do what it asks; *fields* names what it may not set, where that is why.

    *actor* names a caller that may not come in at all.
    """

    def __init__(self, message: str, *, fields: Iterable[str] = (), actor: str = "") -> None:
        super().__init__(message)
        self.actor = actor
        self.fields = frozenset(fields)


class CannotTellError(KeystileError):
    """Whoever would know did not answer in time; try again after *retry_after* seconds."""

    def __init__(self, what: str, *, retry_after: int = 1) -> None:
        super().__init__(what)
        self.retry_after = retry_after


class EventsLostError(CannotTellError):
    """The realm keeps no events just now: what happens meanwhile is never told."""


class StillSearchingError(CannotTellError):
    """The fallback index, or a match by bcrypt, is not finished: it counts as a failure of whoever caused it."""


class TooManyFailuresError(KeystileError):
    """The caller's address spent its failed look-ups; *retry_after* is in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("too many failed look-ups from this address")
        self.retry_after = retry_after


class LimitReachedError(KeystileError):
    """A proved key has used up a limit; its holder may know which, and tries again after *retry_after* seconds.

    *limit* is its name, as in *fields*: the values of `RateLimit` and `RateLimit-Policy`.
    """

    def __init__(
        self, reason: Reason, *, limit: str, retry_after: int, fields: tuple[str, str], key_id: str, owner: str
    ) -> None:
        super().__init__(f"{reason.value}: {limit}")
        self.reason = reason
        self.limit = limit
        self.retry_after = retry_after
        self.fields = fields
        self.key_id = key_id
        self.owner = owner


class ChangeRefusedError(KeystileError):
    """A change cannot be made; the message says why and what would help."""


class OwnerUnknownError(ChangeRefusedError):
    """No such owner in the store."""


class KeyUnknownError(ChangeRefusedError):
    """No such key in the store."""


class TooManyKeysError(ChangeRefusedError):
    """The owner already holds as many live keys as the deployment allows."""


class RecordTooLargeError(ChangeRefusedError):
    """The key record would not fit into its attribute."""


class PolicyRefusedError(ChangeRefusedError):
    """A key cannot have what is asked for it; *fields* names what is wrong."""

    def __init__(self, message: str, *fields: str) -> None:
        super().__init__(message)
        self.fields = frozenset(fields)


class PreconditionError(ChangeRefusedError):
    """The key was changed since the caller looked at it."""


class RequestReusedError(ChangeRefusedError):
    """A request of this name was done already, to the key *key_id*: the *same* one, or one that asked otherwise."""

    def __init__(self, key_id: str, *, same: bool) -> None:
        super().__init__("this Idempotency-Key was used already" + ("" if same else ", for another request"))
        self.key_id = key_id
        self.same = same


class AttributesUndeclaredError(ChangeRefusedError):
    """Keycloak would drop what we write: the user profile does not declare our attributes."""


class ConfigurationError(KeystileError):
    """The settings, or the deployment they point at, cannot work; the message says how to mend it."""
