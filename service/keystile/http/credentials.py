"""Which credential a request presents: one, never a pick between two (RFC 6749, 2.3; RFC 6750, 2)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from keystile.errors import RequestError
from keystile.http.asgi import headers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keystile.http.asgi import Header, Scope


@dataclass(frozen=True, slots=True)
class Credential:
    """A presented key or JWT, unchecked. *client_id* where the caller named one; *by* is how it came."""

    text: str
    by: str
    client_id: str | None = None


UNREADABLE = Credential("", "basic")
"""Basic credentials nobody can read: presented all the same, and refused like any other wrong one."""


def credential_of(scope: Scope) -> Credential | None:
    """Return the one credential in the headers, None if there is none.

    Raises `RequestError` for two `Authorization` headers or two different credentials.
    """
    authorizations = headers(scope, b"authorization")
    if len(authorizations) > 1:
        raise RequestError("invalid_request", "more than one Authorization header")
    found = [Credential(value.decode("latin-1").strip(), "x-api-key") for value in headers(scope, b"x-api-key")]
    if authorizations:
        authorization = _parse_authorization(authorizations[0].decode("latin-1"))
        found += [authorization] if authorization else []
    if len({credential.text for credential in found}) > 1:
        raise RequestError("invalid_request", "more than one credential")
    return found[-1] if found else None


def sole_bearer(headers: Iterable[Header]) -> bytes | None:
    """Return a bearer credential that is all these headers present, unparsed; None leaves it to `credential_of`."""
    found = None
    for name, value in headers:
        if name == b"authorization":
            if found is not None:
                return None
            found = value
        elif name == b"x-api-key":
            return None
    return found[7:] if found is not None and found[:7] == b"Bearer " else None


def bearer(presented: bytes) -> Credential:
    """Return what `sole_bearer` found as `credential_of` would."""
    return Credential(presented.decode("latin-1").strip(), "bearer")


def _parse_authorization(value: str) -> Credential | None:
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() == "bearer":
        return bearer(rest.encode("latin-1"))
    if scheme.lower() == "basic":
        return parse_basic(rest.strip())
    return None


def parse_basic(encoded: str) -> Credential:
    """Read Basic credentials, percent-encoded as RFC 6749, 2.3.1 wants or raw: for our alphabet it is the same."""
    try:
        decoded = base64.b64decode(encoded, validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return UNREADABLE
    client_id, colon, secret = decoded.partition(":")
    if not colon:
        return UNREADABLE
    return Credential(unquote_plus(secret), "basic", unquote_plus(client_id))
