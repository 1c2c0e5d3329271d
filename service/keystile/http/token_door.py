"""`POST /sts/token`: the OAuth token endpoint (RFC 6749, 4.4). A grant is one entry of a table."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from keystile.claims import parse_resource, parse_scope
from keystile.errors import KeyRefusedError, KeystileError, Reason, RequestError
from keystile.http.asgi import json_answer, read_body
from keystile.http.assertions import assertion_of
from keystile.http.credentials import Credential, credential_of
from keystile.http.doors import answer_to, limits_of
from keystile.http.forms import parse_form

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from keystile.authority.assertions import AssertionVerifier
    from keystile.authority.exchange import Exchange
    from keystile.authority.verifier import Verifier
    from keystile.http.asgi import Answer, Receive, Scope, Send
    from keystile.http.doors import Contexts
    from keystile.http.forms import Form

    Grant = Callable[[Form, Scope], Awaitable[Answer]]

_CHALLENGE = (b"www-authenticate", b'Basic realm="keystile"')
_REFUSED = json_answer(401, {"error": "invalid_client"}, _CHALLENGE)
_NOT_POST = json_answer(405, {"error": "invalid_request"}, (b"allow", b"POST"))


class TokenDoor:
    """Exchanges a key for a fresh JWT. *grants*: the grant types this door knows, and who answers them."""

    def __init__(
        self, verifier: Verifier, exchange: Exchange, contexts: Contexts, assertions: AssertionVerifier
    ) -> None:
        self._assertions = assertions
        self._verifier = verifier
        self._exchange = exchange
        self._contexts = contexts
        self.grants: dict[str, Grant] = {"client_credentials": self._client_credentials}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] != "POST":
            await _NOT_POST.send(send, head=scope["method"] == "HEAD")
            return
        try:
            answer = await self._answer(scope, receive)
        except KeystileError as error:
            answer = answer_to(error, _REFUSED)
        await answer.send(send)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        form = parse_form(scope, await read_body(scope, receive))
        grant_type = form.one("grant_type")
        if grant_type is None:
            raise RequestError("invalid_request", "grant_type is missing")
        answer = self.grants.get(grant_type)
        if answer is None:
            raise RequestError("unsupported_grant_type", "see grant_types_supported in the metadata")
        return await answer(form, scope)

    async def _client_credentials(self, form: Form, scope: Scope) -> Answer:
        credential = assertion_of(form, scope) or _one_way(form, scope)
        context = self._contexts.of(
            scope,
            "token",
            client_id=credential.client_id,
            audience=_audience(form),
            scopes=parse_scope(form.one("scope") or ""),
        )
        verify = self._assertions.verify if credential.by == "assertion" else self._verifier.verify
        verdict = await verify(credential.text, context)
        minted = await self._exchange.mint(verdict, context)
        document = {"access_token": minted.token, "token_type": "Bearer", "expires_in": minted.expires_in}
        if minted.granted.scopes:
            document["scope"] = " ".join(minted.granted.scopes)
        return json_answer(200, document, *limits_of(verdict, self._verifier))


def _one_way(form: Form, scope: Scope) -> Credential:
    """Return the one credential of header and form (RFC 6749, 2.3: a client uses one method)."""
    in_headers = credential_of(scope)
    secret, client_id = form.one("client_secret"), form.one("client_id")
    if in_headers is not None and secret is not None:
        raise RequestError("invalid_request", "more than one way of authenticating")
    if in_headers is None:
        if secret is None:
            raise KeyRefusedError(Reason.MALFORMED)
        return Credential(secret, "form", client_id or "")
    if client_id is not None and in_headers.client_id not in (None, client_id):
        raise RequestError("invalid_request", "client_id is not that of the credentials")
    return replace(in_headers, client_id=client_id if in_headers.client_id is None else in_headers.client_id)


def _audience(form: Form) -> str | None:
    """Return the one audience asked for (RFC 8707), None if none is."""
    asked = form.every("resource", "audience")
    if len(asked) > 1:
        raise RequestError("invalid_target", "one resource at a time: a JWT has exactly one audience")
    return parse_resource(asked[0]) if asked else None
