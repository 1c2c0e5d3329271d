"""Clients that say who they are: by a key, or by `client_assertion`, which is `private_key_jwt` (RFC 7521, 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keystile.errors import RequestError
from keystile.http.asgi import headers
from keystile.http.credentials import Credential

if TYPE_CHECKING:
    from keystile.authority.assertions import AssertionVerifier
    from keystile.authority.verifier import Verifier
    from keystile.http.asgi import Scope
    from keystile.http.forms import Form
    from keystile.policy import RequestContext
    from keystile.verdicts import Verdict

ASSERTION = "assertion"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def assertion_of(form: Form, scope: Scope) -> Credential | None:
    """Return the one assertion in *form*, None if there is none.

    Raises `RequestError` for one of another type, or beside another way of authenticating (RFC 6749, 2.3).
    """
    assertion, kind = form.one("client_assertion"), form.one("client_assertion_type")
    if assertion is None and kind is None:
        return None
    if assertion is None or kind != ASSERTION_TYPE:
        raise RequestError("invalid_request", "client_assertion and its type, jwt-bearer, come together")
    others = headers(scope, b"authorization") or headers(scope, b"x-api-key")
    if others or form.one("client_secret") is not None:
        raise RequestError("invalid_request", "more than one way of authenticating")
    return Credential(assertion, ASSERTION, form.one("client_id"))


@dataclass(frozen=True, slots=True)
class ClientProof:
    """Proves a client by either, for every door that asks who it is."""

    verifier: Verifier
    assertions: AssertionVerifier

    async def __call__(self, credential: Credential, context: RequestContext) -> Verdict:
        """Return the verdict on whoever presents *credential*; raises what either verifier does."""
        verify = self.assertions.verify if credential.by == ASSERTION else self.verifier.verify
        return await verify(credential.text, context)
