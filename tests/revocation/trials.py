"""One trial: a key is known everywhere, its end is asked for, and the last acceptance after the answer counts."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from revocation.watch import Probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from revocation.watch import Watch
    from soak.population import Holder
    from truth.lives import Key, Owner

DOORS = ("verify", "token", "jwt")
QUIET = 1.0  # seconds without an acceptance: the key is dead
_GIVE_UP = 9.0  # seconds after the answer
_KNOWN_WITHIN = 15.0
_TIMES_ACCEPTED = 2  # by each process, before the end is asked for


class TrialError(Exception):
    """The trial could not be made; the message says why."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What to end, and how. *doors* are those that it must close; *of_jwts*: the key itself lives on."""

    kind: str
    holder: Holder
    whose: Key | Owner
    end: Callable[[], float]
    bound: float
    doors: tuple[str, ...] = DOORS
    of_jwts: bool = False
    buries: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """Seconds to the last acceptance anywhere, by door: *lags* from the answer on, 0 where there was none after it."""

    kind: str
    seconds_to_answer: float
    lags: dict[str, float]
    since_asked: dict[str, float]
    statuses: dict[str, dict[str, int]] = field(default_factory=dict)


class Trials:
    """Makes trials at *ports*, which are some of those that *watch* loads."""

    def __init__(self, watch: Watch, ports: list[int]) -> None:
        self._watch = watch
        self._ports = ports
        self._executor = ThreadPoolExecutor(1)

    def make(self, trial: Trial, *, before: Callable[[], object] = lambda: None) -> Outcome:
        """Make *trial*; *before* is called when the key is known everywhere."""
        probes = self._probes(trial.holder)
        if not self._watch.until(
            lambda: all(probe.accepted >= _TIMES_ACCEPTED for probe in probes), probes, within=_KNOWN_WITHIN
        ):
            raise TrialError(f"{trial.holder.key.key_id} was not accepted everywhere")
        before()
        for probe in probes:
            probe.statuses.clear()
        asked = time.monotonic()
        answered = self._end(trial, probes)
        closing = [probe for probe in probes if probe.name in trial.doors]
        self._watch.until(lambda: _is_quiet(closing, answered), probes, within=_GIVE_UP)
        return Outcome(
            trial.kind, answered - asked, _lags(closing, answered), _lags(closing, asked), _statuses(closing)
        )

    def _end(self, trial: Trial, probes: list[Probe]) -> float:
        truth = self._watch.population.truth
        with truth.ending(trial.whose, bound=trial.bound, of_jwts=trial.of_jwts):
            done = self._executor.submit(trial.end)
            self._watch.until(done.done, probes)
            answered = done.result()
        if trial.buries:
            self._watch.population.bury(trial.holder)
        return answered

    def _probes(self, holder: Holder) -> list[Probe]:
        """Return the questions; the JWT that a process is asked about was made by the one before it."""
        replies = self._watch.answers(holder.token, holder, self._ports)
        if any(reply.status != 200 for reply in replies):
            raise TrialError(f"{holder.key.key_id} got no JWT: {[reply.status for reply in replies]}")
        jwts = [
            self._watch.population.keep(holder, json.loads(reply.body)["access_token"], reply.received)
            for reply in replies
        ]
        asks = {"verify": holder.verify, "token": holder.token}
        plain = [Probe(door, port, ask) for door, ask in asks.items() for port in self._ports]
        return plain + [Probe("jwt", port, jwts[number - 1]) for number, port in enumerate(self._ports)]


def _is_quiet(probes: list[Probe], answered: float) -> bool:
    last = max(answered, *(probe.accepted_at for probe in probes))
    return time.monotonic() > last + QUIET


def _lags(probes: list[Probe], since: float) -> dict[str, float]:
    lags: dict[str, float] = {}
    for probe in probes:
        lags[probe.name] = max(lags.get(probe.name, 0.0), probe.accepted_at - since)
    return lags


def _statuses(probes: list[Probe]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for probe in probes:
        counts = found.setdefault(probe.name, {})
        for status, number in probe.statuses.items():
            counts[str(status or "cut")] = counts.get(str(status or "cut"), 0) + number
    return found
