"""`/sts/verify`: the gateway's question, answered for any method, with headers alone."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from keystile.errors import KeystileError, Reason
from keystile.http.asgi import Answer, json_answer
from keystile.http.credentials import bearer, credential_of, sole_bearer
from keystile.http.doors import answer_to, limits_of, limits_told
from keystile.keys import MAX_KEY_BYTES, ApiKey, looks_like_jwt

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keystile.authority.exchange import Exchange
    from keystile.authority.jwts import JwtVerifier
    from keystile.authority.verifier import Verifier
    from keystile.delegation import Actor
    from keystile.http.asgi import Header, Receive, Scope, Send
    from keystile.http.credentials import Credential
    from keystile.http.doors import Contexts
    from keystile.policy import RequestContext
    from keystile.records import KeyRecord, Owner

_NO_CREDENTIAL = json_answer(401, {"error": "invalid_token"}, (b"www-authenticate", b"Bearer"))
_REFUSED = json_answer(401, {"error": "invalid_token"}, (b"www-authenticate", b'Bearer error="invalid_token"'))
_DOOR = "verify"
# A gateway copies these headers to the upstream. One left out, or empty, would let the client's own header of
# that name through; so all are always there, and "-" means nothing. What a header may not carry is encoded.
_EMPTY: tuple[Header, ...] = ((b"cache-control", b"no-store"), (b"content-length", b"0"))
_ALWAYS: tuple[Header, ...] = ((b"x-auth-actor", b"-"), *_EMPTY)
_NO_TENANT = b"-"
_PLAIN = "".join(chr(code) for code in (*range(0x21, 0x25), *range(0x26, 0x7F)))
_IS_PLAIN = re.compile(r"[\x21-\x24\x26-\x7e]+").fullmatch


@dataclass(frozen=True, slots=True)
class VerifyDoor:
    """Says whether a key or one of our JWTs is good, and hands the gateway a JWT for the upstream."""

    verifier: Verifier
    jwts: JwtVerifier
    exchange: Exchange
    contexts: Contexts

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request; its body is never read."""
        presented = sole_bearer(scope["headers"])
        answer = None if presented is None else self._at_once(presented, scope)
        if not isinstance(answer, Answer):
            try:
                credential = credential_of(scope) if presented is None else bearer(presented)
                answer = _NO_CREDENTIAL if credential is None else await self._answer(scope, credential, answer)
            except KeystileError as error:
                answer = answer_to(error, _REFUSED)
        await answer.send(send, head=scope["method"] == "HEAD")

    def _at_once(self, presented: bytes, scope: Scope) -> Answer | ApiKey | None:
        """Return the answer to a request that presents one bearer and asks nothing more, if no look-up is needed.

        Else the key that was read, if it is one. Every gateway asks like this. What `decide` would look at in such a
        request is nothing, so what it said of a key that stands is what it would say now; and a forged key is thrown
        away before anything is made of it.
        """
        if len(presented) > MAX_KEY_BYTES:
            return None
        name = self.verifier.format.name(presented)
        known = self.verifier.standing(name)
        if known is None:
            return self._read(presented, name, scope)
        if self.verifier.ticks() >= known.answer_until:
            return None
        meters = known.meters
        if meters and not self.verifier.metering.spend(meters):
            return None
        self.verifier.auditor.stood()
        known.used(scope["path"])
        return _good(known.answer, limits_told(meters, self.verifier) if meters else ())

    def _read(self, presented: bytes, name: bytes, scope: Scope) -> Answer | ApiKey | None:
        read = self.verifier.format.read(presented.decode("latin-1"), name)
        if read is Reason.FORGED:
            self.verifier.auditor.thrown_away(Reason.FORGED, self.contexts.address(scope), _DOOR)
            return _REFUSED
        return read if isinstance(read, ApiKey) else None

    async def _answer(self, scope: Scope, credential: Credential, key: ApiKey | None) -> Answer:
        context = self.contexts.of(scope, _DOOR, client_id=credential.client_id, at_gateway=True)
        if looks_like_jwt(credential.text):
            return await self._pass_on(credential.text, context)
        verdict = await self.verifier.verify(credential.text, context, key)
        name = self.verifier.name(credential.text) if key is None else key.name
        known, limits = self.verifier.known(name), limits_of(verdict, self.verifier)
        if known is not None and known.verdict is verdict and self.verifier.ticks() < known.prepared_until:
            return _good(known.answer, limits)
        jwt = self.exchange.reusable(verdict, context)
        if jwt is None:
            jwt = await self.exchange.mint_reusable(verdict, context)
            self.verifier.share_jwt(credential.text, verdict, jwt)
        said = _identity(jwt.text, verdict.owner, verdict.record, jwt.scopes)
        if known is not None and known.verdict is verdict:
            known.verdict = verdict if verdict.jwt is None else replace(verdict, jwt=None)
            known.answer = said
            known.prepared_until = self.verifier.ticks() + jwt.until - self.verifier.clock().timestamp()
            # What was decided for this request says nothing of the next one where the policy looks at requests.
            known.answer_until = 0.0 if verdict.record.policy.judges_requests else known.prepared_until
        return _good(said, limits)

    async def _pass_on(self, token: str, context: RequestContext) -> Answer:
        presented = await self.jwts.verify(token, context)
        claims: dict[str, Any] = presented.claims
        scopes = str(claims.get("scope", "")).split()
        said = _identity(token, presented.verdict.owner, presented.verdict.record, scopes)
        return _good(said, limits_of(presented.verdict, self.verifier), _acted_by(presented.actors))


def _identity(token: str, owner: Owner, record: KeyRecord, scopes: Iterable[str]) -> tuple[bytes, ...]:
    """Return the values of the headers that differ from key to key: all that is kept of an answer."""
    return (
        b"Bearer " + token.encode(),
        encode_identity(owner.id).encode(),
        encode_identity(owner.username).encode(),
        encode_identity(record.key_id).encode(),
        " ".join(encode_identity(scope) for scope in scopes).encode() or b"-",
        encode_identity(record.policy.tenant).encode() if record.policy.tenant else _NO_TENANT,
    )


def _acted_by(actors: tuple[Actor, ...]) -> tuple[Header, ...]:
    """Return the headers that are always there: the actor is the one whom the client got the JWT as."""
    return ((b"x-auth-actor", encode_identity(actors[0].owner_id).encode()), *_EMPTY) if actors else _ALWAYS


def _good(said: tuple[bytes, ...], limits: tuple[Header, ...], always: tuple[Header, ...] = _ALWAYS) -> Answer:
    authorization, subject, username, key_id, scope, tenant = said
    return Answer(
        200,
        (
            (b"authorization", authorization),
            (b"x-auth-subject", subject),
            (b"x-auth-username", username),
            (b"x-auth-key-id", key_id),
            (b"x-auth-scope", scope),
            (b"x-auth-tenant", tenant),
            *always,
            *limits,
        ),
    )


def encode_identity(value: str) -> str:
    """Return *value* percent-encoded outside %x21-24 and %x26-7E, `-` for nothing, `%2D` for a lone dash."""
    if value in ("", "-"):
        return "%2D" if value else "-"
    return value if _IS_PLAIN(value) else quote(value, safe=_PLAIN)
