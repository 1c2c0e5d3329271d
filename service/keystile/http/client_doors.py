"""What the doors for authenticated clients share: a form by POST, the one refusal, and a key that proves who asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystile.errors import KeyRefusedError, KeystileError, RequestError, RightsError
from keystile.http.asgi import json_answer, read_body
from keystile.http.assertions import assertion_of
from keystile.http.doors import answer_to
from keystile.http.forms import parse_form
from keystile.http.token_door import NOT_POST, REFUSED, one_way

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from keystile.http.asgi import Answer, Receive, Scope, Send
    from keystile.http.credentials import Credential
    from keystile.http.doors import Contexts
    from keystile.http.forms import Form
    from keystile.policy import RequestContext

_FORBIDDEN = json_answer(
    403, {"error": "insufficient_scope"}, (b"www-authenticate", b'Bearer error="insufficient_scope"')
)


async def serve_form(
    scope: Scope, receive: Receive, send: Send, answer: Callable[[Form, Scope], Awaitable[Answer]]
) -> None:
    """Answer one request: whatever is wrong with the key of whoever asks looks the same, as at the token door."""
    if scope["method"] != "POST":
        await NOT_POST.send(send, head=scope["method"] == "HEAD")
        return
    try:
        answered = await answer(parse_form(scope, await read_body(scope, receive)), scope)
    except KeyRefusedError:
        answered = REFUSED
    except RightsError:
        answered = _FORBIDDEN
    except KeystileError as error:
        answered = answer_to(error, REFUSED)
    await answered.send(send)


def asked_by(form: Form, scope: Scope, contexts: Contexts, door: str) -> tuple[Credential, RequestContext]:
    """Return by what the client says who it is, and the context of its request, which spends no limit."""
    credential = assertion_of(form, scope) or one_way(form, scope)
    return credential, contexts.of(scope, door, client_id=credential.client_id, is_counted=False)


def token_of(form: Form) -> str:
    """Return the token a form is about. *token_type_hint* is only a hint: the form of a token says what it is."""
    token = form.one("token")
    if token is None:
        raise RequestError("invalid_request", "token is missing")
    return token
