"""`/sts/verify`: the gateway's question, answered for any method, with headers alone."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from keystile.errors import KeystileError, Reason
from keystile.http.asgi import Answer, json_answer
from keystile.http.credentials import bearer, credential_of, sole_bearer
from keystile.http.doors import answer_to, limits_of, limits_told
from keystile.keys import MAX_KEY_BYTES, ApiKey, looks_like_jwt

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keystile.authority.exchange import Exchange
    from keystile.authority.jwts import JwtVerifier, PresentedJwt
    from keystile.authority.verifier import Verifier
    from keystile.delegation import Actor
    from keystile.http.asgi import Header, Receive, Scope, Send
    from keystile.http.credentials import Credential
    from keystile.http.doors import Contexts
    from keystile.policy import RequestContext
    from keystile.records import KeyRecord, Owner
    from keystile.verdicts import Known, ReusableJwt, Verdict

_NO_CREDENTIAL = json_answer(401, {"error": "invalid_token"}, (b"www-authenticate", b"Bearer"))
REFUSED = json_answer(401, {"error": "invalid_token"}, (b"www-authenticate", b'Bearer error="invalid_token"'))
# A gateway copies these headers to the upstream. One left out, or empty, would let the client's own header of
# that name through; so all are always there, and "-" means nothing. What a header may not carry is encoded.
_NOTHING = b"-"
_EMPTY: tuple[Header, ...] = ((b"cache-control", b"no-store"), (b"content-length", b"0"))
_PLAIN = "".join(chr(code) for code in (*range(0x21, 0x25), *range(0x26, 0x7F)))
_IS_PLAIN = re.compile(r"[\x21-\x24\x26-\x7e]+").fullmatch


class Kept(Protocol):
    """What was prepared of an answer; `Known` says what its moments mean."""

    @property
    def answer(self) -> tuple[bytes, ...]:
        """The values that differ from key to key."""

    @property
    def prepared_until(self) -> float:
        """Ticks."""

    @property
    def answer_until(self) -> float:
        """Ticks."""


@dataclass(frozen=True, slots=True)
class VerifyDoor:
    """Says whether a key or one of our JWTs is good, and hands the gateway a JWT for the upstream."""

    verifier: Verifier
    jwts: JwtVerifier
    exchange: Exchange
    contexts: Contexts
    door: str = "verify"
    bare: Answer = _NO_CREDENTIAL
    refused: Answer = REFUSED

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request; its body is never read."""
        presented = sole_bearer(scope["headers"])
        answer = None if presented is None else self._at_once(presented, scope)
        if not isinstance(answer, Answer):
            try:
                credential = credential_of(scope) if presented is None else bearer(presented)
                answer = self.bare if credential is None else await self._answer(scope, credential, answer)
            except KeystileError as error:
                answer = self._refusal(error)
        await answer.send(send, head=scope["method"] == "HEAD")

    def _at_once(self, presented: bytes, scope: Scope) -> Answer | ApiKey | None:
        """Return the answer to a request that presents one bearer and asks nothing more, if no look-up is needed.

        Else the key that was read, if it is one. Every gateway asks like this. What `decide` would look at in such a
        request is nothing, so what it said of a key that stands is what it would say now; and a forged key is thrown
        away before anything is made of it.
        """
        if len(presented) > MAX_KEY_BYTES:
            return None
        verifier = self.verifier
        name = verifier.format.name(presented)
        known = verifier.standing(name)
        if known is None:
            return self._read(presented, name, scope)
        kept = self._kept(name, known)
        if kept is None or verifier.ticks() >= kept.answer_until:
            return None
        meters = known.meters
        if meters and not verifier.metering.spend(meters):
            return None
        verifier.auditor.stood()
        known.used(scope["path"])
        return self._good(kept.answer, limits_told(meters, verifier) if meters else ())

    def _read(self, presented: bytes, name: bytes, scope: Scope) -> Answer | ApiKey | None:
        read = self.verifier.format.read(presented.decode("latin-1"), name)
        if read is Reason.FORGED:
            self.verifier.auditor.thrown_away(Reason.FORGED, self.contexts.address(scope), self.door)
            return self.refused
        return read if isinstance(read, ApiKey) else None

    async def _answer(self, scope: Scope, credential: Credential, key: ApiKey | None) -> Answer:
        context = self._context(scope, credential)
        if looks_like_jwt(credential.text):
            return await self._pass_on(credential.text, context)
        verdict = await self.verifier.verify(credential.text, context, key)
        name = self.verifier.name(credential.text) if key is None else key.name
        known, limits = self.verifier.known(name), limits_of(verdict, self.verifier)
        if name is not None and known is not None and known.verdict is verdict:
            kept = self._kept(name, known)
            if kept is not None and self.verifier.ticks() < kept.prepared_until:
                return self._good(kept.answer, limits)
        jwt = await self._jwt(credential.text, verdict, context)
        said = self._said(jwt, verdict)
        if name is not None and known is not None and known.verdict is verdict:
            self._keep(name, known, said, jwt)
        return self._good(said, limits)

    def _context(self, scope: Scope, credential: Credential) -> RequestContext:
        return self.contexts.of(scope, self.door, client_id=credential.client_id, at_gateway=True)

    def _refusal(self, error: KeystileError) -> Answer:
        return answer_to(error, self.refused)

    def _kept(self, _name: bytes, known: Known) -> Kept | None:
        """Return what was prepared for that key."""
        return known

    async def _jwt(self, presented: str, verdict: Verdict, context: RequestContext) -> ReusableJwt:
        jwt = self.exchange.reusable(verdict, context)
        if jwt is None:
            jwt = await self.exchange.mint_reusable(verdict, context)
            self.verifier.share_jwt(presented, verdict, jwt)
        return jwt

    def _said(self, jwt: ReusableJwt, verdict: Verdict) -> tuple[bytes, ...]:
        """Return the values of an answer that differ from key to key."""
        return identity(jwt.text, verdict.owner, verdict.record, jwt.scopes)

    def _keep(self, _name: bytes, known: Known, said: tuple[bytes, ...], jwt: ReusableJwt) -> None:
        verdict = known.verdict
        known.verdict = verdict if verdict.jwt is None else replace(verdict, jwt=None)
        known.answer = said
        known.prepared_until = self._until(jwt)
        # What was decided for this request says nothing of the next one where the policy looks at requests.
        known.answer_until = 0.0 if verdict.record.policy.judges_requests else known.prepared_until

    def _until(self, jwt: ReusableJwt) -> float:
        """Return until when (ticks) that JWT may be handed out again."""
        return self.verifier.ticks() + jwt.until - self.verifier.clock().timestamp()

    async def _pass_on(self, token: str, context: RequestContext) -> Answer:
        presented = await self.jwts.verify(token, context)
        return self._good(identity_of(presented), limits_of(presented.verdict, self.verifier))

    def _good(self, said: tuple[bytes, ...], limits: tuple[Header, ...]) -> Answer:
        authorization, subject, username, key_id, scope, tenant, actor = said
        return Answer(
            200,
            (
                (b"authorization", authorization),
                (b"x-auth-subject", subject),
                (b"x-auth-username", username),
                (b"x-auth-key-id", key_id),
                (b"x-auth-scope", scope),
                (b"x-auth-tenant", tenant),
                (b"x-auth-actor", actor),
                *_EMPTY,
                *limits,
            ),
        )


def identity(
    token: str, owner: Owner, record: KeyRecord, scopes: Iterable[str], actors: tuple[Actor, ...] = ()
) -> tuple[bytes, ...]:
    """Return the values of the headers that differ from key to key: all that is kept of an answer.

    The actor is the one whom the client got the JWT as.
    """
    return (
        b"Bearer " + token.encode(),
        encode_identity(owner.id).encode(),
        encode_identity(owner.username).encode(),
        encode_identity(record.key_id).encode(),
        " ".join(encode_identity(scope) for scope in scopes).encode() or _NOTHING,
        encode_identity(record.policy.tenant).encode() if record.policy.tenant else _NOTHING,
        encode_identity(actors[0].owner_id).encode() if actors else _NOTHING,
    )


def identity_of(presented: PresentedJwt) -> tuple[bytes, ...]:
    """Return the same of one of our JWTs, which is passed on as it came."""
    verdict, scopes = presented.verdict, str(presented.claims.get("scope", "")).split()
    return identity(presented.text, verdict.owner, verdict.record, scopes, presented.actors)


def encode_identity(value: str) -> str:
    """Return *value* percent-encoded outside %x21-24 and %x26-7E, `-` for nothing, `%2D` for a lone dash."""
    if value in ("", "-"):
        return "%2D" if value else "-"
    return value if _IS_PLAIN(value) else quote(value, safe=_PLAIN)
