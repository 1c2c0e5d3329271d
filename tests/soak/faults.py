"""The faults of the soak: which comes when, and what a change made near one may take."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis import Redis

if TYPE_CHECKING:
    from collections.abc import Callable

    from soak.deployment import Site
    from soak.memory import Memory
    from truth import Truth

OWN_BOUND = 1.0  # seconds: changes made through Keystile
FOREIGN_BOUND = 5.0  # changes made in Keycloak, and any while something is broken
RECOVERY = 5.0
_FROZEN = 3.0
_FIRST_SHARE = 0.08  # of the whole time passes before the first fault


@dataclass(frozen=True, slots=True)
class Fault:
    """Something to break, at a moment known beforehand. *lasts* is a guess at how long."""

    name: str
    at: float
    lasts: float
    happen: Callable[[], None]
    of_keycloak: bool = False


class Faults:
    """Breaks things by a plan, in a thread of its own."""

    def __init__(self, site: Site, truth: Truth, memory: Memory) -> None:
        self._site = site
        self._truth = truth
        self._memory = memory
        self._plan: list[Fault] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def bound(self, asked: float, answered: float) -> float:
        """Return the bound of a change made through Keystile: a longer one if a fault touches it."""
        return FOREIGN_BOUND if self._touched(asked, answered + OWN_BOUND) else OWN_BOUND

    def keycloak_is_calm(self, seconds: float) -> bool:
        """Tell whether Keycloak's events can be followed from now on for that long."""
        now = time.monotonic()
        return not self._touched(now, now + seconds, of_keycloak=True)

    def start(self, seconds: float, every: float) -> None:
        """Break something *every* so many seconds, for *seconds* from now on."""
        self._plan = self._planned(time.monotonic(), seconds, every)
        self._thread.start()

    def stop(self) -> None:
        """Leave out what has not begun and wait until all is mended."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        for fault in self._plan:
            if self._ending.wait(fault.at - time.monotonic()):
                return
            with self._truth.fault(fault.name, recovery=RECOVERY):
                fault.happen()

    def _touched(self, start: float, end: float, *, of_keycloak: bool = False) -> bool:
        planned = [fault for fault in self._plan if fault.of_keycloak or not of_keycloak]
        return any(start < fault.at + fault.lasts + RECOVERY and end > fault.at for fault in planned)

    def _planned(self, began: float, seconds: float, every: float) -> list[Fault]:
        kinds: list[tuple[str, float, Callable[[], None], bool]] = [
            ("a worker killed", 3.0, self._kill_worker, False),
            ("Redis stopped", _FROZEN, self._freeze_redis, False),
            ("Redis flushed", 0.1, self._flush_redis, False),
            ("Keycloak stopped", _FROZEN, self._freeze_keycloak, True),
            ("Redis killed and started", 3.0, self._kill_redis, False),
        ]
        moments = []
        at = seconds * _FIRST_SHARE
        while at < seconds - RECOVERY - _FROZEN:
            moments.append(began + at)
            at += every
        # Only the first kills a worker: the memory of those that come after it is compared.
        order = [0, *(1 + number % (len(kinds) - 1) for number in range(len(moments) - 1))]
        return [
            Fault(kinds[kind][0], at, kinds[kind][1], kinds[kind][2], kinds[kind][3])
            for at, kind in zip(moments, order, strict=False)
        ]

    def _kill_worker(self) -> None:
        os.kill(self._memory.workers()[0], signal.SIGKILL)
        time.sleep(2)  # until its successor is there

    def _freeze_redis(self) -> None:
        self._site.world.redis.suspend()
        time.sleep(_FROZEN)
        self._site.world.redis.resume()

    def _flush_redis(self) -> None:
        with Redis.from_url(self._site.world.redis.url) as client:
            client.flushall()

    def _freeze_keycloak(self) -> None:
        self._site.world.keycloak.suspend()
        time.sleep(_FROZEN)
        self._site.world.keycloak.resume()

    def _kill_redis(self) -> None:
        self._site.world.redis.kill()
        time.sleep(1)
        self._site.world.redis.start()
