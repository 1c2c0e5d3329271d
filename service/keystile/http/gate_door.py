"""One configured gate: the verify door's question, asked for an audience and scopes of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from keystile.errors import KeyRefusedError, Reason
from keystile.http.asgi import Answer, json_answer
from keystile.http.doors import answer_to, limits_of
from keystile.http.verify_door import VerifyDoor, identity, identity_of

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from keystile.errors import KeystileError
    from keystile.gates import Gate
    from keystile.http.asgi import Header, Scope
    from keystile.http.credentials import Credential
    from keystile.http.doors import Contexts
    from keystile.policy import RequestContext
    from keystile.verdicts import Known, ReusableJwt, Verdict

    PreparedAnswers = MutableMapping[tuple[str, bytes], "Prepared"]

MOST_PREPARED = 20_000  # answers kept for all gates of one process: some 40 MB
_KEPT_BY_NOBODY = b"no-store"
# Whoever keeps an answer by its URL alone would give one client's JWT to another: these two are all that it depends on.
_DEPENDS: Header = (b"vary", b"authorization, x-api-key")
_EMPTY: Header = (b"content-length", b"0")


class Prepared(NamedTuple):
    """An answer of one gate, made from *verdict*; the JWT in it is one of *maker*. Moments are as in `Known`."""

    verdict: Verdict
    maker: str
    answer: tuple[bytes, ...]
    prepared_until: float
    answer_until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GateDoor(VerifyDoor):
    """Asks and answers as its *gate* says. *prepared* is bounded, and shared by all gates of a process."""

    gate: Gate
    prepared: PreparedAnswers
    names: tuple[bytes, ...]
    lacks_scope: Answer

    def _context(self, scope: Scope, credential: Credential) -> RequestContext:
        return self.contexts.of(
            scope,
            self.door,
            client_id=credential.client_id,
            at_gateway=True,
            audience=self.gate.audience,
            scopes=self.gate.scopes,
        )

    def _refusal(self, error: KeystileError) -> Answer:
        reason = error.reason if isinstance(error, KeyRefusedError) else None
        if reason is Reason.SCOPE_DENIED:
            return self.lacks_scope
        # It asked for nothing here: a key that is not for this gate is refused as any other that is not good.
        return self.refused if reason is Reason.AUDIENCE_DENIED else answer_to(error, self.refused)

    def _kept(self, name: bytes, known: Known) -> Prepared | None:
        prepared = self.prepared.get((self.door, name))
        if prepared is None or prepared.verdict is not known.verdict:
            return None
        return prepared if prepared.maker == self.exchange.tokens.maker(self.gate.audience) else None

    async def _jwt(self, _presented: str, verdict: Verdict, context: RequestContext) -> ReusableJwt:
        return await self.exchange.mint_reusable(verdict, replace(context, scopes=()))  # with all that the key holds

    def _said(self, jwt: ReusableJwt, verdict: Verdict) -> tuple[bytes, ...]:
        # It is handed out until half of its life is over, so what is left now is what is left at the least.
        left = jwt.until - self.verifier.clock().timestamp()
        return (*identity(jwt.text, verdict.owner, verdict.record, jwt.scopes), self._cache(verdict, left))

    def _keep(self, name: bytes, known: Known, said: tuple[bytes, ...], jwt: ReusableJwt) -> None:
        until = self._until(jwt)
        answer_until = 0.0 if known.verdict.record.policy.judges_requests else until
        self.prepared[self.door, name] = Prepared(known.verdict, jwt.maker, said, until, answer_until)

    async def _pass_on(self, token: str, context: RequestContext) -> Answer:
        presented = await self.jwts.verify(token, context)
        verdict, left = presented.verdict, presented.claims["exp"] - self.verifier.clock().timestamp()
        cache = _KEPT_BY_NOBODY if presented.actors else self._cache(verdict, left)  # their keys may judge requests
        return self._good((*identity_of(presented), cache), limits_of(verdict, self.verifier))

    def _cache(self, verdict: Verdict, left: float) -> bytes:
        """Return for how long the gateway may keep this answer, given that its JWT lives for *left* seconds.

        Not at all where the next request may be judged otherwise, or has to be counted.
        """
        seconds, record = int(min(self.gate.cache.total_seconds(), left)), verdict.record
        if seconds < 1 or record.policy.judges_requests or self.verifier.metering.meters_of(record, verdict.owner):
            return _KEPT_BY_NOBODY
        return b"max-age=%d" % seconds

    def _good(self, said: tuple[bytes, ...], limits: tuple[Header, ...]) -> Answer:
        depends = () if said[-1] is _KEPT_BY_NOBODY else (_DEPENDS,)
        return Answer(200, (*zip(self.names, said, strict=True), _EMPTY, *depends, *limits))


def gate_door(name: str, gate: Gate, verify: VerifyDoor, contexts: Contexts, prepared: PreparedAnswers) -> GateDoor:
    """Return the door of the *gate* of that name, which asks the same authority as *verify*."""
    return GateDoor(
        verify.verifier,
        verify.jwts,
        verify.exchange,
        contexts,
        f"gate/{name}",
        _challenging(gate, 401, "invalid_token"),
        _challenging(gate, 401, "invalid_token", 'error="invalid_token"'),
        gate=gate,
        prepared=prepared,
        names=tuple(each.lower().encode() for each in ("authorization", *gate.headers.names, "cache-control")),
        lacks_scope=_challenging(
            gate, 403, "insufficient_scope", 'error="insufficient_scope"', f'scope="{" ".join(gate.scopes)}"'
        ),
    )


def _challenging(gate: Gate, status: int, error: str, *words: str) -> Answer:
    """Return a refusal; its challenge leads to the metadata of the resource, if the gate names it (RFC 9728)."""
    leads = [f'resource_metadata="{gate.resource_metadata}"'] if gate.resource_metadata else []
    challenge = f"Bearer {', '.join([*words, *leads])}".strip()
    return json_answer(status, {"error": error}, (b"www-authenticate", challenge.encode()))
