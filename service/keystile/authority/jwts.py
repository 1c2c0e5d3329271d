"""Verification of our own JWTs where a key would do: signature, audience, and the life of the key behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keystile.authority.lookup import with_roles
from keystile.errors import CannotTellError, KeyRefusedError, Reason
from keystile.policy import held_scopes
from keystile.verdicts import Verdict

if TYPE_CHECKING:
    from cachetools import TTLCache

    from keystile.authority.flights import Flights
    from keystile.authority.verifier import Verifier
    from keystile.policy import RequestContext
    from keystile.ports import Directory, TokenIssuer


@dataclass(frozen=True, slots=True)
class PresentedJwt:
    """One of our JWTs, checked: its text, its claims, and the verdict on its key."""

    text: str
    claims: dict[str, Any]
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class JwtVerifier:
    """Passes our JWTs on only while their key lives: the log is asked first, the record itself next."""

    verifier: Verifier
    tokens: TokenIssuer
    directory: Directory
    records: TTLCache[str, Verdict]
    flights: Flights[Verdict]

    async def verify(self, token: str, context: RequestContext) -> PresentedJwt:
        """Return the checked *token* if it was made for exactly this door's audience, else raise `KeyRefusedError`."""
        try:
            presented = await self._verify(token, context)
            if await self.verifier.count(presented.verdict, context):
                presented = await self._verify(token, context)  # that took a while
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

    async def _verify(self, token: str, context: RequestContext) -> PresentedJwt:
        claims = self.tokens.verify(token)
        if claims is None or claims.get("aud") != (context.audience or context.rules.default_audience):
            raise KeyRefusedError(Reason.JWT_INVALID)
        if self.verifier.memory.heard is None:
            raise CannotTellError("the change log was not heard yet")  # it may say that this JWT is dead
        key_id, owner_id, gen = claims["client_id"], claims["sub"], claims["gen"]
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
        told = context.rules.owner_claims
        if lost or (told and told.belie(claims, verdict.owner)):
            # Its owner lost a role since, or the deployment gave a scope up: no change of the key tells of that.
            raise KeyRefusedError(Reason.JWT_KILLED, key_id=key_id, owner=verdict.owner.username)
        return PresentedJwt(token, claims, verdict)

    def _check_kills(self, key_id: str, gen: int) -> None:
        if self.verifier.memory.is_killed(key_id, gen, self.verifier.clock().timestamp()):
            raise KeyRefusedError(Reason.JWT_KILLED, key_id=key_id)

    async def _record(self, key_id: str, owner_id: str, context: RequestContext) -> Verdict:
        known = self.records.get(key_id)
        if known is not None and self.verifier.freshness.counts(known):
            return known
        try:
            verdict = await self.flights.once((key_id, owner_id), lambda: self._read(key_id, owner_id, context))
        except CannotTellError:
            if known is not None and self.verifier.freshness.counts_stale(known):
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
        return Verdict.of(owner, record, position, read_at)
