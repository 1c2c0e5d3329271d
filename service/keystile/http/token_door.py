"""`POST /sts/token`: the OAuth token endpoint (RFC 6749, 4.4; RFC 8693). A grant is one entry of a table."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from keystile.claims import parse_resource, parse_scope
from keystile.errors import KeyRefusedError, KeystileError, Reason, RequestError
from keystile.http.asgi import json_answer, read_body
from keystile.http.assertions import assertion_of
from keystile.http.credentials import Credential, credential_of
from keystile.http.doors import answer_to, limits_of
from keystile.http.exchange_form import ACCESS_TOKEN, TOKEN_EXCHANGE, read_exchange
from keystile.http.forms import parse_form

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from keystile.authority.delegating import Delegating
    from keystile.authority.exchange import Exchange
    from keystile.authority.verifier import Verifier
    from keystile.http.asgi import Answer, Receive, Scope, Send
    from keystile.http.assertions import ClientProof
    from keystile.http.doors import Contexts
    from keystile.http.forms import Form
    from keystile.policy import RequestContext

    Grant = Callable[[Form, Scope], Awaitable[Answer]]

_CHALLENGE = (b"www-authenticate", b'Basic realm="keystile"')
REFUSED = json_answer(401, {"error": "invalid_client"}, _CHALLENGE)
_BAD_TOKEN = json_answer(
    400, {"error": "invalid_request", "error_description": "a token cannot be used for this request"}
)
NOT_POST = json_answer(405, {"error": "invalid_request"}, (b"allow", b"POST"))


class TokenDoor:
    """Exchanges a key, or a JWT made for this, for a fresh JWT. *grants*: who answers each grant type it knows."""

    def __init__(
        self,
        verifier: Verifier,
        exchange: Exchange,
        delegating: Delegating,
        contexts: Contexts,
        prove: ClientProof,
    ) -> None:
        self._prove = prove
        self._verifier = verifier
        self._exchange = exchange
        self._contexts = contexts
        self._delegating = delegating
        self.grants: dict[str, Grant] = {
            "client_credentials": self._client_credentials,
            TOKEN_EXCHANGE: self._token_exchange,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] != "POST":
            await NOT_POST.send(send, head=scope["method"] == "HEAD")
            return
        try:
            answer = await self._answer(scope, receive)
        except KeystileError as error:
            answer = answer_to(error, REFUSED)
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
        credential = assertion_of(form, scope) or one_way(form, scope)
        context = self._asked(form, scope, credential.client_id)
        verdict = await self._prove(credential, context)
        minted = await self._exchange.mint(verdict, context)
        return json_answer(200, minted.to_document(), *limits_of(verdict, self._verifier))

    async def _token_exchange(self, form: Form, scope: Scope) -> Answer:
        asked = read_exchange(form)
        context = self._asked(form, scope)
        await self._authenticate(form, scope)
        try:
            verdict, minted = await self._delegating.issue(asked.subject, asked.actor, context)
        except KeyRefusedError as refusal:  # of whichever of the two: RFC 8693, 2.2.2
            return answer_to(refusal, _BAD_TOKEN)
        document = {**minted.to_document(), "issued_token_type": ACCESS_TOKEN}
        return json_answer(200, document, *limits_of(verdict, self._verifier))

    async def _authenticate(self, form: Form, scope: Scope) -> None:
        """Check the credential by which the client says who it is, if it does: with a subject token it need not."""
        credential = assertion_of(form, scope) or any_way(form, scope)
        if credential is not None:
            context = self._contexts.of(scope, "token: client", client_id=credential.client_id, is_counted=False)
            await self._prove(credential, context)

    def _asked(self, form: Form, scope: Scope, client_id: str | None = None) -> RequestContext:
        scopes = parse_scope(form.one("scope") or "")
        return self._contexts.of(scope, "token", client_id=client_id, audience=_audience(form), scopes=scopes)


def one_way(form: Form, scope: Scope) -> Credential:
    """Return what `any_way` does, or refuse a client that says nothing of who it is."""
    credential = any_way(form, scope)
    if credential is None:
        raise KeyRefusedError(Reason.MALFORMED)
    return credential


def any_way(form: Form, scope: Scope) -> Credential | None:
    """Return the one credential of header and form (RFC 6749, 2.3: a client uses one method), None without any."""
    in_headers = credential_of(scope)
    secret, client_id = form.one("client_secret"), form.one("client_id")
    if in_headers is not None and secret is not None:
        raise RequestError("invalid_request", "more than one way of authenticating")
    if in_headers is None:
        return None if secret is None else Credential(secret, "form", client_id or "")
    if client_id is not None and in_headers.client_id not in (None, client_id):
        raise RequestError("invalid_request", "client_id is not that of the credentials")
    return replace(in_headers, client_id=client_id if in_headers.client_id is None else in_headers.client_id)


def _audience(form: Form) -> str | None:
    """Return the one audience asked for (RFC 8707), None if none is."""
    asked = form.every("resource", "audience")
    if len(asked) > 1:
        raise RequestError("invalid_target", "one resource at a time: a JWT has exactly one audience")
    return parse_resource(asked[0]) if asked else None
