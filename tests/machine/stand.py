"""What the machine acts on: a store, two processes over it, and a clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keystile.errors import KeyRefusedError
from keystile.policy import RequestContext

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from keystile.authority.alterations import Alterations
    from keystile.authority.exchange import Exchange
    from keystile.authority.jwts import JwtVerifier
    from keystile.authority.lifecycle import Lifecycle
    from keystile.authority.verifier import Verifier
    from keystile.policy import Rules
    from keystile.ports import Clock, Directory

MOST_LIVE = 3


@dataclass(frozen=True, kw_only=True)
class Side:
    """One process of a deployment, which lets an owner have `MOST_LIVE` live keys."""

    lifecycle: Lifecycle
    alterations: Alterations
    verifier: Verifier
    jwts: JwtVerifier
    exchange: Exchange
    rules: Rules

    @property
    def context(self) -> RequestContext:
        """A request from 192.0.2.1 that asks for nothing by name."""
        return RequestContext(rules=self.rules, door="token", address="192.0.2.1")

    async def hear(self) -> None:
        """Hear what the others said, and finish what this process does in the background."""
        await self.lifecycle.follower.read()
        await self.verifier.chores.finish()

    async def scopes_by_secret(self, text: str) -> frozenset[str] | None:
        """Return what this process lets the holder of a secret do, None if nothing."""
        try:
            verdict = await self.verifier.verify(text, self.context)
        except KeyRefusedError:
            return None
        return frozenset(verdict.record.policy.scopes)

    async def scopes_by_jwt(self, text: str) -> frozenset[str] | None:
        """Return what this process lets the holder of a JWT do, None if nothing."""
        try:
            presented = await self.jwts.verify(text, self.context)
        except KeyRefusedError:
            return None
        return frozenset(str(presented.claims.get("scope", "")).split())

    async def mint(self, secret: str) -> str:
        """Return a JWT for a good secret."""
        verdict = await self.verifier.verify(secret, self.context)
        return (await self.exchange.mint(verdict, self.context)).token


@dataclass(frozen=True, kw_only=True)
class Stand:
    """Two processes over one *store* of nobody's keys, and *owners* who may have some.

    *restart* returns a process that takes the place of another; *lose_log*, where there is one, loses the change log.
    """

    sides: list[Side]
    store: Directory
    owners: tuple[str, ...]
    clock: Clock
    pass_time: Callable[[float], Coroutine[Any, Any, None]]
    restart: Callable[[Side], Coroutine[Any, Any, Side]]
    lose_log: Callable[[], Any] | None = None

    @property
    def now(self) -> float:
        """The moment, in epoch seconds."""
        return self.clock().timestamp()
