"""`/sts/verify`: the gateway's question, answered for any method, with headers alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from keystile.errors import KeystileError
from keystile.http.asgi import Answer, json_answer
from keystile.http.credentials import credential_of
from keystile.http.doors import answer_to

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keystile.authority.exchange import Exchange
    from keystile.authority.jwts import JwtVerifier
    from keystile.authority.verifier import Verifier
    from keystile.http.asgi import Receive, Scope, Send
    from keystile.http.credentials import Credential
    from keystile.http.doors import Contexts
    from keystile.policy import RequestContext
    from keystile.records import Owner

_NO_CREDENTIAL = json_answer(401, {"error": "invalid_token"}, (b"www-authenticate", b"Bearer"))
_REFUSED = json_answer(401, {"error": "invalid_token"}, (b"www-authenticate", b'Bearer error="invalid_token"'))
_MAX_JWT = 8_192
# A gateway copies these headers to the upstream. One left out, or empty, would let the client's own header of
# that name through; so all are always there, and "-" means nothing. What a header may not carry is encoded.
_PLAIN = "".join(chr(code) for code in (*range(0x21, 0x25), *range(0x26, 0x7F)))


@dataclass(frozen=True, slots=True)
class VerifyDoor:
    """Says whether a key or one of our JWTs is good, and hands the gateway a JWT for the upstream."""

    verifier: Verifier
    jwts: JwtVerifier
    exchange: Exchange
    contexts: Contexts

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request; its body is never read."""
        try:
            credential = credential_of(scope)
            answer = _NO_CREDENTIAL if credential is None else await self._answer(scope, credential)
        except KeystileError as error:
            answer = answer_to(error, _REFUSED)
        await answer.send(send, head=scope["method"] == "HEAD")

    async def _answer(self, scope: Scope, credential: Credential) -> Answer:
        context = self.contexts.of(scope, "verify", client_id=credential.client_id)
        if _looks_like_jwt(credential.text):
            return await self._pass_on(credential.text, context)
        verdict = await self.verifier.verify(credential.text, context)
        prepared: tuple[float, Answer] | None = verdict.prepared.get("verify")
        if prepared is not None and self.verifier.clock().timestamp() < prepared[0]:
            return prepared[1]
        minted = await self.exchange.mint(verdict, context)
        answer = _good(minted.token, verdict.owner, verdict.record.key_id, minted.granted.scopes)
        verdict.prepared["verify"] = (minted.reusable_until, answer)
        return answer

    async def _pass_on(self, token: str, context: RequestContext) -> Answer:
        presented = await self.jwts.verify(token, context)
        claims: dict[str, Any] = presented.claims
        scopes = str(claims.get("scope", "")).split()
        return _good(token, presented.verdict.owner, presented.verdict.record.key_id, scopes)


def _good(token: str, owner: Owner, key_id: str, scopes: Iterable[str]) -> Answer:
    identity = {
        b"x-auth-subject": encode_identity(owner.id),
        b"x-auth-username": encode_identity(owner.username),
        b"x-auth-key-id": encode_identity(key_id),
        b"x-auth-scope": " ".join(encode_identity(scope) for scope in scopes) or "-",
        b"x-auth-tenant": "-",
        b"x-auth-actor": "-",
    }
    return Answer(
        200,
        (
            (b"authorization", b"Bearer " + token.encode()),
            *((name, value.encode()) for name, value in identity.items()),
            (b"cache-control", b"no-store"),
            (b"content-length", b"0"),
        ),
    )


def encode_identity(value: str) -> str:
    """Return *value* percent-encoded outside %x21-24 and %x26-7E, `-` for nothing, `%2D` for a lone dash."""
    if value in ("", "-"):
        return "%2D" if value else "-"
    return quote(value, safe=_PLAIN)


def _looks_like_jwt(text: str) -> bool:
    return len(text) <= _MAX_JWT and text.startswith("eyJ") and text.count(".") == 2  # noqa: PLR2004 - RFC 7515, 3.1
