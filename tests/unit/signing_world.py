"""Public-key credentials in a world: registered, and proved by signatures, in any of its processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from keystile.adapters.memory.leases import InProcessLeases
from keystile.authority.assertions import AssertionVerifier
from keystile.authority.lifecycle import KeyRequest
from keystile.authority.registering import RegisteredKey, Registrar
from keystile.authority.signatures import Signatures
from keystile.client_ids import ClientIds
from keystile.errors import CannotTellError
from keystile.restrictions import Policy
from unit.builders import ISSUER, PEPPERS, asked
from unit.keypairs import pair

if TYPE_CHECKING:
    from keystile.verdicts import Verdict
    from unit.keypairs import Pair
    from unit.world import Process, World


class WatchedLeases(InProcessLeases):
    """Leases that can be out of reach; *taken* are the names that were asked for."""

    def __init__(self, world: World) -> None:
        super().__init__(ticks=world.time.ticks)
        self.down = False
        self.taken: list[str] = []

    async def take(self, name: str, ttl: float) -> str | None:
        """See `Leases.take`."""
        if self.down:
            raise CannotTellError("leases are down")
        self.taken.append(name)
        return await super().take(name, ttl)


@dataclass
class SigningWorld:
    """A world, and what public-key credentials need besides."""

    world: World
    ids: ClientIds = field(default_factory=lambda: ClientIds(PEPPERS))
    leases: WatchedLeases = field(init=False)

    def __post_init__(self) -> None:
        self.leases = WatchedLeases(self.world)

    @property
    def registrar(self) -> Registrar:
        """Where keys are registered."""
        return Registrar(lifecycle=self.world.here.lifecycle, ids=self.ids, leases=self.leases)

    async def register(self, key: Pair | None = None, **changes: Any) -> RegisteredKey:  # noqa: ANN401 - fields of the request
        """Register a key for alice."""
        request = {"owner": "alice", "name": "laptop", "issued_by": "test", "policy": Policy(), **changes}
        return await self.registrar.register(KeyRequest(**request), (key or pair()).public)

    def signatures(self, process: Process | None = None) -> Signatures:
        """Return what checks signatures in a process."""
        return Signatures(verifier=(process or self.world.here).verifier, ids=self.ids, leases=self.leases)

    async def present(self, assertion: str, process: Process | None = None, **changes: Any) -> Verdict:  # noqa: ANN401 - fields of the context
        """Present an assertion at the token door."""
        signatures = self.signatures(process)
        verifier = AssertionVerifier(signatures=signatures, issuer=ISSUER, clock=self.world.time.now)
        return await verifier.verify(assertion, asked(**changes))
