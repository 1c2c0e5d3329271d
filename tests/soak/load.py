"""The load: what is asked, how often, and how fast the deployment can answer it."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from soak.population import Population
    from soak.wire import Reply, Wire

SHARES = {"verify": 55, "token": 8, "jwt": 25, "forged": 12}  # of a hundred requests
UNKNOWN_PER_SECOND = 20
_IN_PARALLEL = 48  # while the peak is measured
_BURST = 100  # requests sent between two looks at what came back
LINE_ALLOWED = 3.0  # seconds of requests that wait for a connection; what would wait longer is not asked


@dataclass(frozen=True, slots=True)
class Peak:
    """What a closed loop reached: answers a second, and the share of its core that the generator itself used."""

    per_second: float
    generator_share: float


class Load:
    """Asks *port* about a population."""

    def __init__(self, wire: Wire, port: int, population: Population) -> None:
        self._wire = wire
        self._port = port
        self._population = population
        self._bounds = list(accumulate(SHARES.values()))
        self.withheld = 0  # requests that were due and not made, because the line was too long

    def measure_peak(self, seconds: float) -> Peak:
        """Keep a fixed number of requests under way for that long, and unknown keys coming as they do later."""
        began, cpu = time.monotonic(), time.process_time()
        answered, unknown = 0, 0

        def again(_reply: Reply | None = None) -> None:
            nonlocal answered
            answered += 1
            if time.monotonic() < began + seconds:
                self._ask_one(again)

        for _ in range(_IN_PARALLEL):
            self._ask_one(again)
        while (passed := time.monotonic() - began) < seconds:
            while unknown < passed * UNKNOWN_PER_SECOND:
                unknown += 1
                self._ask_unknown()
            self._wire.turn(0.01)
        while self._wire.under_way:
            self._wire.turn(0.05)
        took = time.monotonic() - began
        return Peak(answered / took, (time.process_time() - cpu) / took)

    def keep_up(
        self, per_second: float, seconds: float, each_turn: Callable[[], None], each: Callable[[Reply], None]
    ) -> None:
        """Ask at that rate whatever comes back (open loop), and then wait for what is under way."""
        began = time.monotonic()
        asked, unknown = 0, 0
        while (passed := time.monotonic() - began) < seconds:
            due = min(int(passed * per_second) - asked, _BURST)
            if self._wire.in_line > per_second * LINE_ALLOWED:
                self.withheld += max(due, 0)
            else:
                for _ in range(due):
                    self._ask_one(each)
            asked += max(due, 0)
            while unknown < passed * UNKNOWN_PER_SECOND:
                unknown += 1
                self._ask_unknown()
            self._wire.turn((asked + 1) / per_second - (time.monotonic() - began))
            each_turn()
        while self._wire.under_way:
            self._wire.turn(0.05)

    def _ask_one(self, then: Callable[[Reply], None] | None = None) -> None:
        population = self._population
        holder = None
        dice = random.random() * 100  # noqa: S311 - no secret
        if dice < self._bounds[0]:
            holder = population.any_key()
            ask = holder.verify
        elif dice < self._bounds[1]:
            holder = population.any_key()
            ask = holder.token
        else:
            ask = population.any_jwt() if dice < self._bounds[2] else population.any_forged()
        judge = population.hear(ask, holder)
        self._wire.ask(self._port, ask.request, judge if then is None else _both(judge, then))

    def _ask_unknown(self) -> None:
        ask = self._population.any_unknown()
        self._wire.ask(self._port, ask.request, self._population.hear(ask, None))


def pin_to_one_core() -> None:
    """Keep this process, and what it starts from now on, on the first core it may use."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _both(first: Callable[[Reply], None], second: Callable[[Reply], None]) -> Callable[[Reply], None]:
    def call(reply: Reply) -> None:
        first(reply)
        second(reply)

    return call
