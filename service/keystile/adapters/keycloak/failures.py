"""What Keycloak's failures mean to us: cannot tell, nothing done, or a change it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeVar

import httpx
from keycloak import KeycloakConnectionError, KeycloakError
from keycloak.exceptions import KeycloakPostError, KeycloakPutError

from keystile.errors import CannotTellError, ChangeRefusedError, KeystileError, OwnerUnknownError

if TYPE_CHECKING:
    from collections.abc import Awaitable

_T = TypeVar("_T")
_BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT = 400, 401, 403, 404, 409
_NOT_ITS_WORD = "unknown_error"  # 400 too, while its database is gone
_REASONS = ("errorMessage", "error_description", "error")
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class NothingDoneError(CannotTellError):
    """Cannot tell, but this is certain: the request changed nothing, and will not later."""


class RoleMissingError(NothingDoneError):
    """Keycloak refuses us for want of a role."""


class CredentialsRefusedError(NothingDoneError):
    """Keycloak refuses our client itself: its secret was changed, or it is gone."""


def token_refused(error: KeycloakError, client_id: str) -> NothingDoneError:
    """Return what it means that no token could be had; whatever we wanted to do with it was not sent."""
    if isinstance(error, KeycloakConnectionError):
        return NothingDoneError(f"Keycloak gave {client_id} no token: {_cause(error)}")
    what = f"Keycloak gave {client_id} no token: it answered {error.response_code}"
    if not _is_refusal(error):
        return NothingDoneError(what)
    return CredentialsRefusedError(f"{what}; are its name, its secret and the realm right?")


def meaning_of(error: KeycloakError, client_id: str, needs: str) -> KeystileError:
    """Return our word for Keycloak's failed answer to *client_id*, which *needs* certain roles for the request."""
    code = error.response_code
    if isinstance(error, KeycloakConnectionError):
        unsent = isinstance(error.__cause__, _UNSENT)
        return (NothingDoneError if unsent else CannotTellError)(f"Keycloak did not answer: {_cause(error)}")
    if code == _FORBIDDEN:
        return RoleMissingError(f"client {client_id} lacks {needs} of realm-management: run 'keystile keycloak setup'")
    if code == _UNAUTHORIZED:
        return NothingDoneError(f"Keycloak refuses the tokens it gave {client_id}")
    if _is_no_such_user(error):
        return OwnerUnknownError("Keycloak has no such user")
    if _is_no_to_a_change(error):
        return ChangeRefusedError(f"Keycloak refuses the change: {own_words(error)}")
    return CannotTellError(f"Keycloak answered {code}")


async def or_none(asked: Awaitable[_T]) -> _T | None:
    """Return what was *asked* for, None where Keycloak has no such thing."""
    try:
        return await asked
    except KeycloakError as error:
        if error.response_code != _NOT_FOUND:
            raise
        return None


def _is_no_such_user(error: KeycloakError) -> bool:
    # A missing realm, or a proxy that knows no such path, is 404 too, and says nothing about the user.
    return error.response_code == _NOT_FOUND and _document(error).get("error") == "User not found"


def _is_no_to_a_change(error: KeycloakError) -> bool:
    refused = error.response_code in (_BAD_REQUEST, _CONFLICT) and isinstance(
        error, KeycloakPutError | KeycloakPostError
    )
    return refused and _document(error).get("error") != _NOT_ITS_WORD


def _is_refusal(error: KeycloakError) -> bool:
    return error.response_code in (_BAD_REQUEST, _UNAUTHORIZED, _NOT_FOUND)


def _cause(error: KeycloakError) -> str:
    return type(error.__cause__ or error).__name__


def own_words(error: KeycloakError) -> str:
    """Return the reason that Keycloak's answer gives."""
    document = _document(error)
    faults = document.get("errors")  # only where there are several
    return "; ".join(map(_fault, faults if isinstance(faults, list) else [document]))


def _fault(document: dict[str, object]) -> str:
    message = next((document[name] for name in _REASONS if document.get(name)), "no reason given")
    field = document.get("field")
    return f"{message} (field {field})" if field else str(message)


def _document(error: KeycloakError) -> dict[str, object]:
    try:
        document = json.loads(error.response_body or b"")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
