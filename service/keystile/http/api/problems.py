"""Problem details (RFC 9457): how the management API says what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keystile.errors import (
    CannotTellError,
    ChangeRefusedError,
    KeyRefusedError,
    KeystileError,
    KeyUnknownError,
    OwnerUnknownError,
    PolicyRefusedError,
    PreconditionError,
    RequestError,
    RightsError,
    TooManyFailuresError,
)
from keystile.http.asgi import Answer, json_answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystile.http.asgi import Header

_TYPE: Header = (b"content-type", b"application/problem+json")
_CHALLENGE: Header = (b"www-authenticate", b"Bearer")
_TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Not possible now",
    412: "Changed meanwhile",
    413: "Too large",
    415: "Not JSON",
    422: "Not valid",
    429: "Too many requests",
    500: "Internal error",
    503: "Temporarily unavailable",
}
# The first that fits, so the more special ones stand above.
_STATUS: Sequence[tuple[type[KeystileError], int]] = (
    (KeyRefusedError, 401),
    (RightsError, 403),
    (KeyUnknownError, 404),
    (OwnerUnknownError, 404),
    (PolicyRefusedError, 422),
    (PreconditionError, 412),
    (ChangeRefusedError, 409),
    (TooManyFailuresError, 429),
    (CannotTellError, 503),
)


def problem(status: int, detail: str = "", *headers: Header, **more: Any) -> Answer:  # noqa: ANN401 - extension members
    """Return a problem; *more* are its extension members, like `errors`."""
    document = {"type": "about:blank", "title": _TITLES[status], "status": status}
    document |= {"detail": detail} if detail else {}
    answer = json_answer(status, {**document, **more}, *headers)
    return Answer(answer.status, (_TYPE, *answer.headers[1:]), answer.body)


def problem_of(error: KeystileError) -> Answer:
    """Return the problem that *error* is. Why a credential was refused is not told."""
    if isinstance(error, RequestError):
        return problem(error.status, error.description)
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    if status == 401:  # noqa: PLR2004 - RFC 9110, 15.5.2
        return problem(status, "present a key, one of our JWTs or a token of the realm that is good here", _CHALLENGE)
    if isinstance(error, CannotTellError | TooManyFailuresError):
        return problem(status, str(error), (b"retry-after", str(max(1, error.retry_after)).encode()))
    if isinstance(error, PolicyRefusedError | RightsError) and error.fields:
        return problem(status, str(error), errors=[{"field": name, "message": str(error)} for name in error.fields])
    return problem(status, str(error))
