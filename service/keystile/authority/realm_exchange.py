"""The exchange where the realm signs: a token of the key's owner, kept for a while, that never outlives the key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from keystile.authority.exchange import Exchange, Minted
from keystile.claims import MAX_JWT, grant
from keystile.errors import CannotTellError, KeyRefusedError, Reason, RequestError
from keystile.ports import HandedToken

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from datetime import datetime, timedelta

    from keystile.authority.auditing import Auditor
    from keystile.authority.flights import Flights
    from keystile.authority.handing import HandedOut
    from keystile.authority.lanes import Lane
    from keystile.authority.memory import ChangeMemory
    from keystile.claims import Grant
    from keystile.policy import RequestContext
    from keystile.ports import RealmSigner, SignedToken
    from keystile.records import KeyRecord
    from keystile.verdicts import Verdict

LAST_USE = 10.0  # seconds before its end from which on a token is not handed out again
MOST_KEPT = 10_000  # tokens kept in one process: some 20 MB
_STALE_STANDS = 5.0  # seconds until the realm is asked again, where a token stands in for it

Name = tuple[str, int, str, tuple[str, ...]]


class KeptToken(NamedTuple):
    """A token that may be handed out again, and when it was asked for and ends, in epoch seconds by our own clock."""

    token: SignedToken
    asked_at: float
    ends_at: float

    @property
    def half_over_at(self) -> float:
        """Until when it is handed out while the realm can be asked for another."""
        return (self.asked_at + self.ends_at) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RealmExchange(Exchange):
    """Gets the realm's tokens for verdicts that `decide` allowed for this very request.

    Kept per key, generation, audience and scopes up to half of their life; longer, to their end, only while the realm
    is out of reach. *kept* is bounded. Everything that is handed out is known to *handed* before anybody has it.
    """

    signer: RealmSigner
    handed: HandedOut
    memory: ChangeMemory
    auditor: Auditor
    lane: Lane
    kept: MutableMapping[Name, KeptToken]
    flights: Flights[KeptToken]

    @property
    def names_actors(self) -> bool:
        """Tell that what the realm signs does not say who acts."""
        return False

    async def mint(self, verdict: Verdict, context: RequestContext) -> Minted:
        """Return a token of the realm.

        Raises `KeyRefusedError` where the realm may not say what the key is for, or its owner is out; `CannotTellError`
        while the realm is out of reach and no token is at hand. Both are audited.
        """
        granted = grant(verdict.record, verdict.owner, context)
        try:
            self._check(verdict, context)
            kept = await self._token(verdict, granted, context)
        except KeyRefusedError as refusal:
            told = KeyRefusedError(refusal.reason, key_id=verdict.record.key_id, owner=verdict.owner.username)
            self.auditor.refused(told, context)
            # A gateway asked for nothing: to it a key whose scopes the realm does not know is one that is not good.
            raise (KeyRefusedError(Reason.POLICY_UNVERIFIABLE) if context.at_gateway else told) from refusal
        except CannotTellError as error:
            self.auditor.unanswered(error, context)
            raise
        now = self.clock().timestamp()
        until = kept.half_over_at if now < kept.half_over_at else min(now + _STALE_STANDS, kept.ends_at - LAST_USE)
        return Minted(kept.token.text, granted, max(1, int(kept.ends_at - now)), until)

    def _check(self, verdict: Verdict, context: RequestContext) -> None:
        """Refuse what a token of the realm cannot say, and whoever reads it would take for not said."""
        if context.actors:
            raise RequestError("invalid_request", "tokens of this realm name no actor")
        record = verdict.record
        policy = record.policy.over(context.rules.tenant_defaults.get(record.policy.tenant))
        limits = (policy.max_tokens_per_request, policy.max_concurrent_requests)
        if policy.projects or policy.capabilities or any(limit is not None for limit in limits):
            raise KeyRefusedError(Reason.POLICY_UNVERIFIABLE)
        if record.environment != "live":
            raise KeyRefusedError(Reason.TEST_KEY)
        check_life(record, self.clock(), self.ttl)

    async def _token(self, verdict: Verdict, granted: Grant, context: RequestContext) -> KeptToken:
        record = verdict.record
        name = (record.key_id, record.gen, granted.audience, granted.scopes)
        kept = self.kept.get(name)
        if kept is not None and kept.token.issued_at < verdict.owner.not_before:
            kept = None  # everything of the owner was signed out since
        now = self.clock().timestamp()
        if kept is not None and now < kept.half_over_at:
            return kept
        try:
            return await self.flights.once((*name, verdict.owner.not_before), lambda: self._ask(verdict, name, context))
        except CannotTellError:
            if kept is not None and now < kept.ends_at - LAST_USE:
                return kept
            raise

    async def _ask(self, verdict: Verdict, name: Name, context: RequestContext) -> KeptToken:
        key_id, gen, audience, scopes = name
        async with self.lane.turn(context.address):
            asked_at = self.clock().timestamp()
            token = await self.signer.sign(verdict.owner.id, audience, scopes)
        if len(token.text) > MAX_JWT:
            raise KeyRefusedError(Reason.JWT_TOO_LARGE)
        expires_at = verdict.record.expires_at
        if expires_at is not None and token.expires_at > expires_at.timestamp():
            raise KeyRefusedError(Reason.EXPIRED)  # the realm makes longer ones than it was told to
        await self.handed.note(key_id, HandedToken(text=token.text, gen=gen, expires_at=token.expires_at))
        if self.memory.is_killed(key_id, gen, self.clock().timestamp()):
            # Said while the realm was asked: whoever looked for the key's tokens may have been too early for this one,
            # which nobody gets. One that is handed out just before it is heard here is found by us, when it is.
            raise KeyRefusedError(Reason.REVOKED)
        kept = KeptToken(token, asked_at, asked_at + token.expires_at - token.issued_at)
        self.kept[name] = kept
        return kept


def check_life(record: KeyRecord, now: datetime, ttl: timedelta) -> None:
    """Refuse, as expired, a key that has less to live than every token of the realm has."""
    if record.expires_at is not None and now + ttl > record.expires_at:
        raise KeyRefusedError(Reason.EXPIRED)
