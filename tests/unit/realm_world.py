"""A world whose JWTs the realm signs: the exchange and what it hands out, over a realm that is told what to say."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cachetools import TTLCache

from contracts.told_signer import ToldSigner
from keystile.adapters.memory.handed import InProcessHandedTokens
from keystile.adapters.memory.leases import InProcessLeases
from keystile.authority.flights import Flights
from keystile.authority.handing import HandedOut
from keystile.authority.lanes import Lane
from keystile.authority.realm_exchange import RealmExchange
from keystile.errors import CannotTellError
from keystile.restrictions import Policy
from unit.builders import DEFAULT_AUDIENCE, asked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystile.authority.exchange import Minted
    from keystile.authority.lifecycle import IssuedKey
    from keystile.ports import HandedToken
    from unit.world import Process, World

MCP = "https://mcp.example.com/mcp"
LIFE = timedelta(minutes=5)


class WatchedHandedTokens:
    """A `HandedTokens` that can be *down*."""

    def __init__(self) -> None:
        self.inner = InProcessHandedTokens()
        self.down = False
        self.added = asyncio.Event()

    async def add(self, key_id: str, token: HandedToken, now: float) -> bool:
        """Pass it on, and tell that it was done."""
        kept = await self._reach().add(key_id, token, now)
        self.added.set()
        return kept

    async def of(self, key_id: str, now: float) -> tuple[HandedToken, ...]:
        """Pass it on."""
        return await self._reach().of(key_id, now)

    async def remove(self, key_id: str, tokens: Sequence[HandedToken]) -> None:
        """Pass it on."""
        await self._reach().remove(key_id, tokens)

    def _reach(self) -> InProcessHandedTokens:
        if self.down:
            raise CannotTellError("the store of tokens is down")
        return self.inner


@dataclass
class RealmProcess:
    """A process of a world, with its exchange and what it knows of tokens."""

    process: Process
    exchange: RealmExchange
    handed: HandedOut


@dataclass
class RealmWorld:
    """A world, a realm that signs, and one store of what was handed out."""

    world: World
    signer: ToldSigner
    store: WatchedHandedTokens = field(default_factory=WatchedHandedTokens)
    leases: InProcessLeases = field(default_factory=InProcessLeases)

    @classmethod
    def of(cls, world: World) -> RealmWorld:
        """Return it over *world*, with two audiences and two scopes."""
        realm = ToldSigner({DEFAULT_AUDIENCE, MCP}, {"read", "write"}, clock=lambda: world.time.now().timestamp())
        return cls(world, realm)

    def join(self, process: Process | None = None) -> RealmProcess:
        """Return what a process has of its own."""
        process = process or self.world.here
        time = self.world.time
        handed = HandedOut(
            self.store, self.signer, self.leases, process.memory, clock=time.now, ticks=time.ticks, ttl=LIFE
        )
        exchange = RealmExchange(
            self.world.tokens,
            time.now,
            LIFE,
            signer=self.signer,
            handed=handed,
            memory=process.memory,
            auditor=process.verifier.auditor,
            lane=Lane(running=4, waiting=10, per_caller=10),
            kept=TTLCache(100, LIFE.total_seconds(), timer=time.ticks),
            flights=Flights(),
        )
        return RealmProcess(process, exchange, handed)

    async def issue(self, **policy: Any) -> IssuedKey:  # noqa: ANN401 - fields of a policy
        """Issue a key that may have everything the realm may say."""
        return await self.world.issue(policy=Policy(**{"scopes": ("read", "write"), "audiences": (MCP,), **policy}))

    async def mint(self, at: RealmProcess, issued: IssuedKey, **changes: Any) -> Minted:  # noqa: ANN401 - fields of the context
        """Exchange that key there, as a door does."""
        context = asked(**changes)
        verdict = await at.process.verifier.verify(issued.key.reveal(), context)
        return await at.exchange.mint(verdict, context)
