"""Introspection: what a resource server may know of a key or JWT that somebody presented to it (RFC 7662)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from keystile.claims import grant
from keystile.errors import CannotTellError, KeyRefusedError, Reason, RightsError, TooManyFailuresError
from keystile.keys import looks_like_jwt
from keystile.policy import INTROSPECT, audience_is_allowed, held_scopes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keystile.authority.exchange import Exchange
    from keystile.authority.jwts import JwtVerifier
    from keystile.authority.verifier import Verifier
    from keystile.policy import RequestContext, Rules
    from keystile.ports import RealmTokens
    from keystile.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class ResourceServer:
    """Who asks, proved: its *name* in the audit log, and the *audiences* it is, the most particular first."""

    name: str
    audiences: tuple[str, ...]


def by_key(verdict: Verdict, rules: Rules) -> ResourceServer:
    """Return the resource server that the holder of a key is, or raise a `RightsError`.

    It is what its key lists, and the default audience, which is everybody's; the management API is nobody else.
    """
    record = verdict.record
    if INTROSPECT not in held_scopes(record, verdict.owner, rules):
        raise RightsError("a key needs the scope introspect for this", actor=f"key:{record.key_id}")
    known = (each for each in record.policy.audiences if audience_is_allowed(each, record.policy.audiences, rules))
    own = tuple(each for each in known if each not in (rules.api_audience, rules.default_audience))
    return ResourceServer(f"key:{record.key_id}", (*own, rules.default_audience))


@dataclass(frozen=True, slots=True)
class Active:
    """What is told of a good key or JWT. *claims* are the JWT's, or those of the one that the key would get now.

    *jwt* is the JWT for one of the asker's audiences: what was presented, or a fresh one if that was asked for.
    """

    username: str
    claims: dict[str, Any]
    jwt: str | None = None


@dataclass(frozen=True, kw_only=True)
class Introspection:
    """Judges what is presented for whoever asks: by the same decision as every door, and spending nothing of it.

    *clients* of the *realm* are resource servers too, each for the audiences it is named with.
    """

    verifier: Verifier
    jwts: JwtVerifier
    exchange: Exchange
    realm: RealmTokens | None = None
    clients: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    async def identify(self, presented: str, context: RequestContext) -> ResourceServer:
        """Return who asks, by a key or a client's access token *presented* in a request with this *context*.

        Raises `KeyRefusedError` (401), `RightsError` for a good key that is no resource server's (403), or
        `CannotTellError`.
        """
        if self.realm is not None and self.clients and looks_like_jwt(presented):
            return await self._identify_client(self.realm, presented, context)
        return by_key(await self.verifier.verify(presented, context), context.rules)

    async def _identify_client(self, realm: RealmTokens, token: str, context: RequestContext) -> ResourceServer:
        try:
            client = await realm.client(token)
        except CannotTellError as error:
            self.verifier.auditor.unanswered(error, context)
            raise
        if client is None or client not in self.clients or context.client_id not in (None, client):
            refusal = KeyRefusedError(Reason.JWT_INVALID)
            self.verifier.auditor.refused(refusal, context)
            raise refusal
        return ResourceServer(f"client:{client}", self.clients[client])

    async def look(self, token: str, asker: ResourceServer, context: RequestContext, *, phantom: bool) -> Active | None:
        """Return what *asker* may know of *token*, None if it is not active for it. *phantom*: with a JWT for a key.

        What depends on the presenter's request is unknown here, so a key bound to that is not active. Raises
        `CannotTellError`, and `TooManyFailuresError` once *asker* has shown too much that is not active.
        """
        # Whoever asks pays for what is not active: a name in place of an address, for its own is that of many others.
        payer = replace(context, address=_payer(asker), client_id=None, facts=None, is_counted=False)
        is_jwt = looks_like_jwt(token)
        look = self._look_at_jwt if is_jwt else self._look_at_key
        spent = 0 if is_jwt else await self._spent(payer)  # before: a look-up that fails counts itself
        try:
            verdict, active = await look(token, asker, payer, phantom=phantom)
        except KeyRefusedError as refusal:
            self.verifier.auditor.refused(refusal, context)
            await self._pay(token, payer, await self._spent(payer) if is_jwt else spent)
            return None
        except (CannotTellError, TooManyFailuresError) as error:
            self.verifier.auditor.unanswered(error, context)
            raise
        self.verifier.auditor.accepted(verdict, context)
        return active

    async def _look_at_jwt(
        self, token: str, asker: ResourceServer, context: RequestContext, *, phantom: bool
    ) -> tuple[Verdict, Active]:
        presented = await self.jwts.check(token, context, asker.audiences)
        username = presented.verdict.owner.username
        return presented.verdict, Active(username, presented.claims, token if phantom else None)

    async def _look_at_key(
        self, token: str, asker: ResourceServer, context: RequestContext, *, phantom: bool
    ) -> tuple[Verdict, Active]:
        verdict = await self.verifier.look(token, context)
        record, owner = verdict.record, verdict.owner
        fits = (each for each in asker.audiences if audience_is_allowed(each, record.policy.audiences, context.rules))
        audience = next(fits, None)
        if audience is None:
            raise KeyRefusedError(Reason.AUDIENCE_DENIED, key_id=record.key_id, owner=owner.username)
        asked = replace(context, audience=audience)
        claims = self.exchange.claims(verdict, grant(record, owner, asked), asked)
        del claims["jti"]  # there is no such JWT
        if not phantom:
            return verdict, Active(owner.username, claims)
        minted = await self.exchange.mint(verdict, asked)
        return verdict, Active(owner.username, {**claims, "exp": claims["iat"] + minted.expires_in}, minted.token)

    async def _spent(self, payer: RequestContext) -> int:
        return await self.verifier.limiter.wait(payer.address)

    async def _pay(self, token: str, payer: RequestContext, spent: int) -> None:
        if spent:
            raise TooManyFailuresError(spent)
        tag = self.verifier.format.name(token.encode(errors="replace")).hex()  # by which a look-up counts it too
        await self.verifier.limiter.fail(payer.address, tag)


def _payer(asker: ResourceServer) -> str:
    return f"introspect:{asker.name}"
