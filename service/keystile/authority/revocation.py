"""Revocation by whoever holds a key: of that key itself, or of one JWT it gave (RFC 7009)."""

from __future__ import annotations

from dataclasses import dataclass
from hmac import compare_digest
from typing import TYPE_CHECKING

from keystile.authority.revoked import CLOCKS_APART
from keystile.changes import Change
from keystile.errors import KeyRefusedError, RequestError
from keystile.keys import looks_like_jwt
from keystile.ports import AuditEvent
from keystile.records import RevocationReason

if TYPE_CHECKING:
    from typing import Any

    from keystile.authority.alterations import Alterations
    from keystile.authority.handing import HandedOut
    from keystile.authority.jwts import JwtVerifier
    from keystile.policy import RequestContext
    from keystile.verdicts import Verdict

_OTHERS = "the token was not issued to this client"


@dataclass(frozen=True, kw_only=True)
class Revocation:
    """Ends what a proved key asks to end, and nothing of anybody else. *handed*: what it gave where the realm signs."""

    jwts: JwtVerifier
    alterations: Alterations
    handed: HandedOut | None = None

    async def revoke(self, token: str, presented: str, verdict: Verdict, context: RequestContext) -> None:
        """End *token* for the holder of the key *presented*, on which *verdict* was given for this request.

        What is no live key or JWT of ours has ended already (RFC 7009, 2.2). Raises a `RequestError` for a token of
        another key, or `CannotTellError`: then nothing is certain, and whoever asks asks again.
        """
        if looks_like_jwt(token):
            await self._revoke_jwt(token, verdict)
        elif compare_digest(token.encode(errors="replace"), presented.encode(errors="replace")):
            await self.alterations.lifecycle.revoke(
                verdict.record.key_id, reason=RevocationReason.CESSATION, revoked_by=f"key:{verdict.record.key_id}"
            )
        else:
            await self._refuse_if_good(token, context)

    async def _revoke_jwt(self, token: str, verdict: Verdict) -> None:
        claims = self.jwts.tokens.verify(token)
        if claims is None:
            await self._revoke_of_realm(token, verdict.record.key_id)
            return
        if claims["client_id"] != verdict.record.key_id:
            raise RequestError("invalid_request", _OTHERS)
        if not self.jwts.is_ended(claims):
            await self._end(claims, verdict)

    async def _revoke_of_realm(self, token: str, key_id: str) -> None:
        # One token is given to all who present that key: it ends with all that the key gave so far, or comes back.
        if self.handed is not None and await self.handed.knows(key_id, token):
            await self.alterations.end_jwts(key_id, by=f"key:{key_id}")

    async def _end(self, claims: dict[str, Any], verdict: Verdict) -> None:
        key_id, memory = verdict.record.key_id, self.jwts.verifier.memory
        if not memory.revoked.has_room(key_id):
            # More than is kept of single ones: the key gets a new generation, and all it gave so far ends at once.
            await self.alterations.end_jwts(key_id, by=f"key:{key_id}")
            return
        now = self.jwts.verifier.clock().timestamp()
        until = claims["exp"] + CLOCKS_APART
        change = Change(key_id=key_id, jti=claims["jti"], jti_gen=claims["gen"], jti_until=until, at=now)
        await self.alterations.lifecycle.follower.announce(change)
        self.jwts.verifier.auditor.changed(
            AuditEvent(
                event="jwt_revoked",
                outcome="done",
                key_id=key_id,
                owner=verdict.owner.username,
                detail={"by": f"key:{key_id}", "jti": claims["jti"]},
            )
        )

    async def _refuse_if_good(self, token: str, context: RequestContext) -> None:
        """Do nothing for a key that is not good; refuse one that is: it is not the one that asks."""
        try:
            await self.jwts.verifier.look(token, context)
        except KeyRefusedError as refusal:
            self.jwts.verifier.auditor.refused(refusal, context)
            return
        raise RequestError("invalid_request", _OTHERS)
