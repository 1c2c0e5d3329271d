"""The exchange: from a verdict to a short-lived JWT for one audience."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keystile.claims import MAX_JWT, claims_of, grant
from keystile.errors import KeyRefusedError, Reason
from keystile.verdicts import ReusableJwt

if TYPE_CHECKING:
    from datetime import timedelta

    from keystile.authority.auditing import Auditor
    from keystile.claims import Grant
    from keystile.policy import RequestContext
    from keystile.ports import Clock, TokenIssuer
    from keystile.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Minted:
    """A JWT and what it grants; *expires_in* in seconds from when it was made, *reusable_until* epoch seconds."""

    token: str
    granted: Grant
    expires_in: int
    reusable_until: float

    def to_document(self) -> dict[str, Any]:
        """Return what the client is told (RFC 6749, 5.1)."""
        document = {"access_token": self.token, "token_type": "Bearer", "expires_in": self.expires_in}
        return {**document, "scope": " ".join(self.granted.scopes)} if self.granted.scopes else document


@dataclass(frozen=True, slots=True)
class Exchange:
    """Makes JWTs for verdicts that `decide` allowed for this very request."""

    tokens: TokenIssuer
    clock: Clock
    ttl: timedelta
    auditor: Auditor | None = None

    @property
    def names_actors(self) -> bool:
        """Tell whether its JWTs can say who acts for whom."""
        return True

    async def mint(self, verdict: Verdict, context: RequestContext) -> Minted:
        """Return a fresh JWT. Raises `CannotTellError` where its signer is out of reach.

        Raises `KeyRefusedError`, audited, where it would not fit into a header: what an owner has may have grown.
        """
        granted = grant(verdict.record, verdict.owner, context)
        claims = self.claims(verdict, granted, context)
        life = claims["exp"] - claims["iat"]
        return Minted(await self.sign(claims, verdict, context), granted, life, claims["iat"] + life / 2)

    def claims(self, verdict: Verdict, granted: Grant, context: RequestContext) -> dict[str, Any]:
        """Return the claims of a JWT that gives what was *granted*, not signed yet."""
        return claims_of(
            verdict.record,
            verdict.owner,
            granted,
            self.tokens.issuer,
            self.clock(),
            self.ttl,
            tenant_default=context.rules.tenant_defaults.get(verdict.record.policy.tenant),
            of_owner=context.rules.owner_claims,
        )

    async def sign(self, claims: dict[str, Any], verdict: Verdict, context: RequestContext) -> str:
        """Return the JWT with these claims; raises what `mint` does."""
        token = await self.tokens.mint(claims)
        if len(token) > MAX_JWT:
            raise self._too_large(verdict, context)
        return token

    def _too_large(self, verdict: Verdict, context: RequestContext) -> KeyRefusedError:
        refusal = KeyRefusedError(Reason.JWT_TOO_LARGE, key_id=verdict.record.key_id, owner=verdict.owner.username)
        if self.auditor is not None:
            self.auditor.refused(refusal, context)
        return refusal

    async def mint_reusable(self, verdict: Verdict, context: RequestContext) -> ReusableJwt:
        """Return a JWT that may be handed out until half of its life is over. Raises `CannotTellError`."""
        minted = await self.mint(verdict, context)
        maker = self.tokens.maker(minted.granted.audience)
        return ReusableJwt(minted.token, minted.granted.scopes, minted.reusable_until, maker)

    def reusable(self, verdict: Verdict, context: RequestContext) -> ReusableJwt | None:
        """Return the JWT kept with *verdict* if a process like this one made it and it still may be handed out."""
        jwt, granted = verdict.jwt, grant(verdict.record, verdict.owner, context)
        if jwt is None or jwt.maker != self.tokens.maker(granted.audience) or jwt.scopes != granted.scopes:
            return None
        return jwt if 0 < jwt.until - self.clock().timestamp() <= self.ttl.total_seconds() / 2 + 1 else None
