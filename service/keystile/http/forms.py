"""Form parameters of the OAuth doors (RFC 6749, 3.2): each at most once, an empty one counts as absent."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from keystile.errors import RequestError
from keystile.http.asgi import header

if TYPE_CHECKING:
    from keystile.http.asgi import Scope

_FORM = b"application/x-www-form-urlencoded"
_MAX_FIELDS = 50
_REPEATABLE = frozenset({"resource", "audience"})  # RFC 8707, 2; RFC 8693, 2.1
_SECRETS = frozenset(
    {"client_secret", "client_assertion", "subject_token", "actor_token", "access_token", "api_key", "token"}
)


class Form:
    """The parameters of one request."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in fields:
            if value:
                self._values.setdefault(name, []).append(value)
        repeated = [name for name, values in self._values.items() if len(values) > 1 and name not in _REPEATABLE]
        if repeated:
            raise RequestError("invalid_request", "a parameter is repeated")

    def one(self, name: str) -> str | None:
        """Return that parameter, None if absent."""
        return self._values.get(name, [None])[0]

    def every(self, *names: str) -> tuple[str, ...]:
        """Return the distinct values of these parameters."""
        return tuple(dict.fromkeys(value for name in names for value in self._values.get(name, [])))


def parse_form(scope: Scope, body: bytes) -> Form:
    """Read a form body, or raise `RequestError`; secrets in the query string are refused, they end up in logs."""
    query = scope["query_string"]
    if query and any(name in _SECRETS for name, _ in parse_qsl(query.decode("latin-1"))):
        raise RequestError("invalid_request", "credentials in the query string")
    content_type = (header(scope, b"content-type") or b"").split(b";")[0].strip().lower()
    if content_type != _FORM:
        raise RequestError("invalid_request", "the body is application/x-www-form-urlencoded")
    try:
        return Form(
            parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
        )
    except (UnicodeDecodeError, ValueError) as error:
        raise RequestError("invalid_request", "the body is not a well-formed form") from error
