"""`POST /sts/revoke`: the holder of a key ends that key, or one JWT it gave (RFC 7009)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from keystile.http.asgi import NO_STORE, Answer
from keystile.http.client_doors import asked_by, serve_form, token_of

if TYPE_CHECKING:
    from keystile.authority.revocation import Revocation
    from keystile.http.asgi import Receive, Scope, Send
    from keystile.http.assertions import ClientProof
    from keystile.http.doors import Contexts
    from keystile.http.forms import Form

_DOOR = "revoke"
_ENDED = Answer(200, ((b"content-length", b"0"), *NO_STORE))


@dataclass(frozen=True, slots=True)
class RevokeDoor:
    """Ends what its own client asks to end."""

    prove: ClientProof
    revocation: Revocation
    contexts: Contexts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await serve_form(scope, receive, send, self._answer)

    async def _answer(self, form: Form, scope: Scope) -> Answer:
        credential, context = asked_by(form, scope, self.contexts, _DOOR)
        verdict = await self.prove(credential, context)
        await self.revocation.revoke(token_of(form), credential.text, verdict, replace(context, client_id=None))
        return _ENDED
