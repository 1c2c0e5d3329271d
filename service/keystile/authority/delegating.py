"""Token exchange (RFC 8693): from a key or JWT, and who acts by it, to a JWT that gives no more than both do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from keystile.authority.exchange import Minted
from keystile.claims import Grant
from keystile.delegation import Actor, act_claim
from keystile.errors import KeyRefusedError, Reason, RequestError
from keystile.policy import INTROSPECT, RESERVED_SCOPES, audience_is_allowed, held_scopes

if TYPE_CHECKING:
    from collections.abc import Collection

    from keystile.authority.exchange import Exchange
    from keystile.authority.jwts import JwtVerifier
    from keystile.authority.verifier import Verifier
    from keystile.policy import RequestContext
    from keystile.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class PresentedToken:
    """A subject or actor token, unchecked: an API key, or by its declared type a JWT."""

    text: str
    is_jwt: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a subject or actor token proved: its key, the scopes it may pass on, and the *claims* of a JWT."""

    verdict: Verdict
    scopes: tuple[str, ...]
    claims: dict[str, Any] | None = None
    actors: tuple[Actor, ...] = ()

    @property
    def gen(self) -> int:
        """The generation that what is made from it stands and falls with: of a JWT never a later one than its own."""
        return int(self.verdict.record.gen if self.claims is None else self.claims["gen"])

    def as_actor(self) -> Actor:
        """Return who acts, if this is an actor token."""
        owner = self.verdict.owner
        return Actor(self.verdict.record.key_id, owner.id, self.gen, owner.username)


@dataclass(frozen=True, kw_only=True)
class Delegating:
    """Exchanges tokens; `decide` has the last word on the subject's key and on the actor's."""

    verifier: Verifier
    jwts: JwtVerifier
    exchange: Exchange

    async def issue(
        self, subject: PresentedToken, actor: PresentedToken | None, context: RequestContext
    ) -> tuple[Verdict, Minted]:
        """Return the verdict on the subject's key, and a JWT within what the two tokens give.

        Raises what verifying either raises. The subject comes last, for it alone is counted: an exchange that the
        actor may not have spends nothing.
        """
        acting = None if actor is None else await self._prove_actor(actor, context)
        if acting is not None:
            context = replace(context, actors=(acting.as_actor(),))
        proof = await self._prove(subject, context, self._meant_for(acting, context))
        if acting is not None and self._is_killed(acting):  # while the subject was looked up
            raise self._refusal(Reason.JWT_KILLED, acting, context)
        granted = _granted(proof, acting, context)
        minted = await self._mint(proof, acting, granted, context)
        if proof.actors or acting is not None:
            context = replace(context, actors=context.actors + proof.actors)
            self.verifier.auditor.delegated(
                proof.verdict, context, audience=granted.audience, scope=" ".join(granted.scopes)
            )
        return proof.verdict, minted

    async def _prove_actor(self, actor: PresentedToken, context: RequestContext) -> Proof:
        alone = replace(context, door="token: actor", audience=None, is_counted=False)
        proof = await self._prove(actor, alone, (self.exchange.tokens.issuer,))
        if proof.actors:  # somebody acts for the actor: who that is would be lost
            raise self._refusal(Reason.ACTOR_DENIED, proof, replace(alone, actors=proof.actors))
        return proof

    def _refusal(self, reason: Reason, proof: Proof, context: RequestContext) -> KeyRefusedError:
        """Return the refusal of a proved token, audited."""
        key_id, owner = proof.verdict.record.key_id, proof.verdict.owner.username
        refusal = KeyRefusedError(reason, key_id=key_id, owner=owner)
        self.verifier.auditor.refused(refusal, context)
        return refusal

    async def _prove(self, token: PresentedToken, context: RequestContext, meant_for: Collection[str]) -> Proof:
        if not token.is_jwt:
            verdict = await self.verifier.verify(token.text, context)
            return Proof(verdict=verdict, scopes=held_scopes(verdict.record, verdict.owner, context.rules))
        presented = await self.jwts.verify(token.text, context, meant_for=meant_for)
        scopes = tuple(str(presented.claims.get("scope", "")).split())
        return Proof(verdict=presented.verdict, scopes=scopes, claims=presented.claims, actors=presented.actors)

    def _is_killed(self, acting: Proof) -> bool:
        now = self.verifier.clock().timestamp()
        return self.verifier.memory.is_killed(acting.verdict.record.key_id, acting.gen, now)

    def _meant_for(self, acting: Proof | None, context: RequestContext) -> frozenset[str]:
        """Return whom a subject's JWT may have been made for: us, or the server whose key acts.

        The attack: a server hands the JWTs it receives to another one, which exchanges them. So what names a server is
        its own key, with the scope that an administrator gave it for this.
        """
        names = {self.exchange.tokens.issuer}
        if acting is not None and INTROSPECT in acting.scopes:
            audiences = acting.verdict.record.policy.audiences
            names |= {each for each in audiences if audience_is_allowed(each, audiences, context.rules)}
        return frozenset(names - {context.rules.default_audience, context.rules.api_audience})

    async def _mint(self, proof: Proof, acting: Proof | None, granted: Grant, context: RequestContext) -> Minted:
        if acting is None and proof.claims is None:  # a key for itself, as by client_credentials
            return await self.exchange.mint(proof.verdict, context)
        if not self.exchange.names_actors:
            raise RequestError("invalid_request", "tokens of this realm name no actor, and come from keys alone")
        verdict = replace(proof.verdict, record=replace(proof.verdict.record, gen=proof.gen))
        claims = self.exchange.claims(verdict, granted, context)
        now = claims["iat"]
        for other in (proof, *([] if acting is None else [acting])):
            claims |= _within(claims, other)
        act = act_claim(context.actors + proof.actors)
        if act is not None:
            claims["act"] = act
        life = claims["exp"] - now
        return Minted(await self.exchange.sign(claims, verdict, context), granted, life, now)


def _granted(proof: Proof, acting: Proof | None, context: RequestContext) -> Grant:
    """Return what is asked for, else all that both have, but for reserved scopes."""
    scopes = context.scopes or tuple(
        scope for scope in proof.scopes if scope not in RESERVED_SCOPES and (acting is None or scope in acting.scopes)
    )
    return Grant(context.audience or context.rules.default_audience, scopes)


def _within(claims: dict[str, Any], proof: Proof) -> dict[str, Any]:
    """Return what becomes of end, age and environment of a JWT with these claims, as it comes from what was proved.

    It is as old as the oldest JWT it comes from. The attack: whoever was signed out everywhere a moment ago has a JWT
    that no process refuses yet, and makes one from it that is younger than the sign-out.
    """
    record, given = proof.verdict.record, proof.claims
    if given is not None:
        bounds = {"exp": min(claims["exp"], given["exp"]), "iat": min(claims["iat"], given["iat"])}
    else:
        bounds = {} if record.expires_at is None else {"exp": min(claims["exp"], int(record.expires_at.timestamp()))}
    is_test = "test" in (record.environment, None if given is None else given.get("env"))
    return {**bounds, "env": "test"} if is_test else bounds
