"""Verification of our own JWTs where a key would do: signature, audience, and the life of the key behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from keystile.authority.counts import Source
from keystile.authority.lookup import with_roles
from keystile.delegation import actors_of
from keystile.errors import CannotTellError, KeyRefusedError, Reason
from keystile.policy import held_scopes
from keystile.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Collection

    from cachetools import TTLCache

    from keystile.authority.flights import Flights
    from keystile.authority.verifier import Verifier
    from keystile.delegation import Actor
    from keystile.policy import RequestContext
    from keystile.ports import Directory, TokenIssuer


@dataclass(frozen=True, slots=True)
class PresentedJwt:
    """One of our JWTs, checked: its text, its claims, the verdict on its key, and who acts by it, outermost first."""

    text: str
    claims: dict[str, Any]
    verdict: Verdict
    actors: tuple[Actor, ...] = ()


@dataclass(frozen=True, kw_only=True)
class JwtVerifier:
    """Passes our JWTs on only while their key lives: the log is asked first, the record itself next."""

    verifier: Verifier
    tokens: TokenIssuer
    directory: Directory
    records: TTLCache[str, Verdict]
    flights: Flights[Verdict]

    async def verify(
        self, token: str, context: RequestContext, *, meant_for: Collection[str] | None = None
    ) -> PresentedJwt:
        """Return the checked *token* if it was made for exactly this door's audience, else raise `KeyRefusedError`.

        *meant_for*: where the request itself asks for an audience, those that the token may have been made for.
        """
        claims = self.tokens.verify(token)
        try:
            if claims is not None and "act" in claims:  # nobody of these is checked yet, but refusals tell of them
                context = replace(context, actors=context.actors + actors_of(claims))
            presented = await self._judged(token, claims, context, meant_for)
            if await self.verifier.count(presented.verdict, context):
                presented = await self._judged(token, self.tokens.verify(token), context, meant_for)  # it took a while
        except KeyRefusedError as refusal:
            self.verifier.auditor.refused(refusal, context)
            self.verifier.usage.refused(refusal)
            raise
        except CannotTellError as error:
            self.verifier.auditor.unanswered(error, context)
            raise
        self.verifier.auditor.accepted(presented.verdict, context)
        self.verifier.usage.accepted(presented.verdict, context, gen=presented.claims["gen"])
        return presented

    async def check(self, token: str, context: RequestContext, audiences: Collection[str]) -> PresentedJwt:
        """Return the checked *token* if it was made for one of *audiences*; nothing is counted or audited here."""
        return await self._judged(token, self.tokens.verify(token), context, audiences)

    async def _judged(
        self, token: str, claims: dict[str, Any] | None, context: RequestContext, meant_for: Collection[str] | None
    ) -> PresentedJwt:
        expected = (context.audience or context.rules.default_audience,) if meant_for is None else meant_for
        if claims is None or claims.get("aud") not in expected:
            raise KeyRefusedError(Reason.JWT_INVALID)
        if self.verifier.memory.heard is None:
            raise CannotTellError("the change log was not heard yet")  # it may say that this JWT is dead
        self._check_ended(claims)
        actors: tuple[Actor, ...] = ()
        if "act" in claims:
            actors = await self._living_actors(claims, context)
            context = replace(context, actors=context.actors[: len(context.actors) - len(actors)] + actors)
        verdict = await self._living(claims["client_id"], claims["sub"], claims["gen"], claims, context)
        self._check_ended(claims)  # it may have been said while records were read
        for actor in actors:
            self._check_kills(actor.key_id, actor.gen)
        self._check_asked(claims, context, verdict)
        return PresentedJwt(token, claims, verdict, actors)

    async def _living_actors(self, claims: dict[str, Any], context: RequestContext) -> tuple[Actor, ...]:
        """Return who acts by these claims, each with a key that may be used for this request, now."""
        alone = replace(context, client_id=None, audience=None, scopes=(), actors=())
        living = []
        for actor in actors_of(claims):
            verdict = await self._living(actor.key_id, actor.owner_id, actor.gen, claims, alone)
            living.append(replace(actor, username=verdict.owner.username))
        return tuple(living)

    async def _living(
        self, key_id: str, owner_id: str, gen: int, claims: dict[str, Any], context: RequestContext
    ) -> Verdict:
        """Return the verdict on a key that a JWT with these claims stands on, if the JWT is good by that key."""
        self._check_kills(key_id, gen)
        verdict = await self._record(key_id, owner_id, context)
        self._check_kills(key_id, gen)  # it may have been said while the record was read
        ended = verdict.record.kills_jwt(gen, self.verifier.clock())
        if ended or verdict.owner.id != owner_id or claims["iat"] <= verdict.owner.not_before:
            raise KeyRefusedError(Reason.JWT_KILLED, key_id=key_id, owner=verdict.owner.username)
        self.verifier.judge(verdict, context)
        lost = set(str(claims.get("scope", "")).split()) - set(
            held_scopes(verdict.record, verdict.owner, context.rules)
        )
        told = context.rules.owner_claims if owner_id == claims["sub"] else None  # of an actor's owner nothing is told
        if lost or (told and told.belie(claims, verdict.owner)):
            # Its owner lost a role since, or the deployment gave a scope up: no change of the key tells of that.
            raise KeyRefusedError(Reason.JWT_KILLED, key_id=key_id, owner=verdict.owner.username)
        return verdict

    def _check_asked(self, claims: dict[str, Any], context: RequestContext, verdict: Verdict) -> None:
        """Refuse a request for more scopes than the JWT has, whatever its key holds."""
        if context.scopes and not set(context.scopes) <= set(str(claims.get("scope", "")).split()):
            key_id, owner = verdict.record.key_id, verdict.owner.username
            raise KeyRefusedError(Reason.SCOPE_DENIED, key_id=key_id, owner=owner)

    def is_ended(self, claims: dict[str, Any]) -> bool:
        """Tell whether the log said that this JWT of ours is dead: by itself, or with others of its key."""
        key_id, revoked = claims["client_id"], self.verifier.memory.revoked
        return self._is_killed(key_id, claims["gen"]) or revoked.has(key_id, claims["jti"])

    def _check_ended(self, claims: dict[str, Any]) -> None:
        if self.is_ended(claims):
            raise KeyRefusedError(Reason.JWT_KILLED, key_id=claims["client_id"])

    def _check_kills(self, key_id: str, gen: int) -> None:
        if self._is_killed(key_id, gen):
            raise KeyRefusedError(Reason.JWT_KILLED, key_id=key_id)

    def _is_killed(self, key_id: str, gen: int) -> bool:
        return self.verifier.memory.is_killed(key_id, gen, self.verifier.clock().timestamp())

    async def _record(self, key_id: str, owner_id: str, context: RequestContext) -> Verdict:
        known = self.records.get(key_id)
        if known is not None and self.verifier.freshness.counts(known):
            self.verifier.read_at(Source.PROCESS)
            return known
        try:
            verdict = await self.flights.once((key_id, owner_id), lambda: self._read(key_id, owner_id, context))
        except CannotTellError:
            if known is not None and self.verifier.freshness.counts_stale(known):
                self.verifier.read_at(Source.STALE)
                return known
            raise
        self.records[key_id] = verdict
        return verdict

    async def _read(self, key_id: str, owner_id: str, context: RequestContext) -> Verdict:
        async with self.verifier.lane.turn(context.address):
            position, read_at = self.verifier.memory.position, self.verifier.clock().timestamp()
            owner = await self.directory.owner(owner_id)
        record = None if owner is None else owner.record(key_id)
        if owner is None or record is None:
            raise KeyRefusedError(Reason.UNKNOWN, key_id=key_id)
        self.verifier.check_floor(owner, record, await self.verifier.floor(key_id), record.gen)
        owner = await with_roles(self.directory, owner, record, context.rules)
        self.verifier.read_at(Source.DIRECTORY)
        return Verdict.of(owner, record, position, read_at)
