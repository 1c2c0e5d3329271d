"""Asking about one key at every door of every process, over and over, while the others' keys make the load."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from soak.population import Ask, Holder, Population
    from soak.wire import Reply, Wire

PROBE_EVERY = 0.01  # seconds between two questions at the same door of the same process
LOAD_PER_SECOND = 400
_BURST = 50


@dataclass(eq=False, slots=True)
class Probe:
    """One question, asked at one process again and again: at most one at a time."""

    name: str
    port: int
    ask: Ask
    accepted_at: float = -inf  # when the last request that was accepted had been sent
    accepted: int = 0
    statuses: Counter[int | None] = field(default_factory=Counter)
    due: float = 0.0

    def hear(self, reply: Reply) -> None:
        """Remember what came."""
        self.statuses[reply.status] += 1
        self.due = max(time.monotonic(), reply.sent + PROBE_EVERY)
        if reply.status == 200:
            self.accepted += 1
            self.accepted_at = max(self.accepted_at, reply.sent)


class Watch:
    """Asks and waits; all that comes back is judged by the population's truth."""

    def __init__(self, wire: Wire, ports: list[int], population: Population) -> None:
        self.ports = ports
        self.population = population
        self._wire = wire
        self._loaded = time.monotonic()

    def until(self, condition: Callable[[], bool], probes: list[Probe], *, within: float = inf) -> bool:
        """Go on until *condition* holds, at most *within* seconds; return whether it does."""
        end = time.monotonic() + within
        while not condition():
            now = time.monotonic()
            if now > end:
                return False
            for probe in probes:
                if probe.due <= now:
                    probe.due = inf
                    self._ask(probe.port, probe.ask, None, probe.hear)
            self._load(now)
            self._wire.turn(0.001)
        return True

    def answers(self, ask: Ask, holder: Holder, ports: list[int], *, within: float = 10) -> list[Reply]:
        """Return what each of *ports* says to *ask*."""
        replies: dict[int, Reply] = {}
        for port in ports:
            self._ask(port, ask, holder, lambda reply, port=port: replies.__setitem__(port, reply))  # type: ignore[misc]
        self.until(lambda: len(replies) == len(ports), [], within=within)
        return [replies[port] for port in ports]

    def _load(self, now: float) -> None:
        """Ask about everybody else's keys and JWTs, and about dead ones: those must stay dead."""
        due = int((now - self._loaded) * LOAD_PER_SECOND)
        for _ in range(min(due, _BURST)):
            holder = self.population.any_key()
            ask = holder.token if random.random() < 0.1 else holder.verify  # noqa: S311 - no secret
            self._ask(random.choice(self.ports), ask, holder)  # noqa: S311
        self._loaded = now if due > _BURST else self._loaded + due / LOAD_PER_SECOND

    def _ask(self, port: int, ask: Ask, holder: Holder | None, then: Callable[[Reply], object] | None = None) -> None:
        judge = self.population.hear(ask, holder)

        def hear(reply: Reply) -> None:
            judge(reply)
            if then is not None:
                then(reply)

        self._wire.ask(port, ask.request, hear)
