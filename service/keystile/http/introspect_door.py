"""`POST /sts/introspect`: a resource server asks what it was shown is good for (RFC 7662), or for a JWT.

The second is the phantom token of API gateways: they ask with `Accept: application/jwt`, and pass the JWT on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keystile.authority.introspection import by_key
from keystile.http.asgi import Answer, header, json_answer
from keystile.http.assertions import ASSERTION
from keystile.http.client_doors import asked_by, serve_form, token_of

if TYPE_CHECKING:
    from keystile.authority.introspection import Active, Introspection
    from keystile.http.asgi import Receive, Scope, Send
    from keystile.http.assertions import ClientProof
    from keystile.http.doors import Contexts
    from keystile.http.forms import Form

_DOOR = "introspect"
_JWT = b"application/jwt"
_INACTIVE = json_answer(200, {"active": False})
_NO_JWT = Answer(204, ((b"cache-control", b"no-store"),))
_KEPT_FOR = 30  # seconds a gateway may keep a JWT: what is revoked meanwhile it does not hear of


@dataclass(frozen=True, slots=True)
class IntrospectDoor:
    """Says what is active, to those for whom it is."""

    introspection: Introspection
    prove: ClientProof
    contexts: Contexts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await serve_form(scope, receive, send, self._answer)

    async def _answer(self, form: Form, scope: Scope) -> Answer:
        credential, context = asked_by(form, scope, self.contexts, _DOOR)
        if credential.by == ASSERTION:
            asker = by_key(await self.prove(credential, context), context.rules)
        else:
            asker = await self.introspection.identify(credential.text, context)
        phantom = _wants_jwt(scope)
        active = await self.introspection.look(token_of(form), asker, context, phantom=phantom)
        if active is None:
            return _NO_JWT if phantom else _INACTIVE
        if active.jwt is not None:
            return self._jwt_answer(active, active.jwt)
        return json_answer(200, {"active": True, "token_type": "Bearer", "username": active.username, **active.claims})

    def _jwt_answer(self, active: Active, jwt: str) -> Answer:
        left = int(active.claims["exp"] - self.introspection.verifier.clock().timestamp())
        kept = f"max-age={max(0, min(left, _KEPT_FOR))}"
        body = jwt.encode()
        return Answer(
            200,
            (
                (b"content-type", _JWT),
                (b"content-length", str(len(body)).encode()),
                (b"cache-control", kept.encode()),
            ),
            body,
        )


def _wants_jwt(scope: Scope) -> bool:
    """Tell whether the answer is to be a JWT; `application/token-introspection+jwt` (RFC 9701) is another thing."""
    accepted = header(scope, b"accept")
    if accepted is None or _JWT not in accepted.lower():
        return False
    return any(each.split(b";")[0].strip().lower() == _JWT for each in accepted.split(b","))
