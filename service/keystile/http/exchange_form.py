"""The parameters of a token exchange (RFC 8693, section 2.1): which tokens are presented, by their declared types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keystile.authority.delegating import PresentedToken
from keystile.errors import RequestError

if TYPE_CHECKING:
    from keystile.http.forms import Form

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a grant's name
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a type's name
API_KEY = "urn:keystile:token-type:api-key"
_IS_JWT = {API_KEY: False, ACCESS_TOKEN: True}


@dataclass(frozen=True, slots=True)
class ExchangeForm:
    """The subject token and, where somebody acts for it, the actor token; both unchecked."""

    subject: PresentedToken
    actor: PresentedToken | None


def read_exchange(form: Form) -> ExchangeForm:
    """Read what is to be exchanged, or raise a `RequestError`: `invalid_request`.

    Another token than an access token is not to be had, and never given in place of what was asked for.
    """
    if form.one("requested_token_type") not in (None, ACCESS_TOKEN):
        raise RequestError("invalid_request", "requested_token_type: only access tokens are issued")
    subject = _presented(form, "subject_token")
    if subject is None:
        raise RequestError("invalid_request", "subject_token and subject_token_type are needed")
    return ExchangeForm(subject, _presented(form, "actor_token"))


def _presented(form: Form, name: str) -> PresentedToken | None:
    """Return the token of that parameter, None if neither it nor its type is there."""
    text, kind = form.one(name), form.one(f"{name}_type")
    if text is None and kind is None:
        return None
    if text is None or kind is None:
        raise RequestError("invalid_request", f"{name} and {name}_type come together")
    if kind not in _IS_JWT:
        raise RequestError("invalid_request", f"{name}_type is not known")
    return PresentedToken(text, _IS_JWT[kind])
