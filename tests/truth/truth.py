"""The invariant checker: told of everything that is done to keys, it judges every answer."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING

from truth.lives import Ending, Jwt, Key, Owner, Stranger, dead_since, is_open, must_accept

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from truth.answers import Answer


@dataclass(frozen=True, slots=True)
class Wrong:
    """An answer that should not have been given, and *why*."""

    answer: Answer
    why: str


class Truth:
    """What is true, and what was answered.

    *patience*: an answer that took longer is wrong. *outages_need_a_cause*: a 503 for a live key is wrong unless
    a `fault` is under way or ended only just. All methods may be called from any thread.
    """

    def __init__(
        self,
        *,
        patience: float = inf,
        outages_need_a_cause: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts: Counter[tuple[str, str, int | None]] = Counter()
        self.wrong: list[Wrong] = []
        self.excused: Counter[str] = Counter()  # 503 for what was live, by the fault that excuses it
        self.faults: list[tuple[str, float, float]] = []
        self._patience = patience
        self._outages_need_a_cause = outages_need_a_cause
        self._clock = clock
        self._lock = threading.Lock()
        self._undecided: list[Answer] = []  # accepted after somebody asked for the end, before that was answered

    def owner(self, username: str, subject: str = "") -> Owner:
        """Return a new owner."""
        return Owner(username, subject)

    def key(self, key_id: str, owner: Owner) -> Key:
        """Return a new key: call this once its issue was answered."""
        return Key(key_id, owner)

    def jwt(self, key: Key, *, asked: float, received: float, expires_at: float = inf) -> Jwt:
        """Return a JWT that was handed out for *key*."""
        return Jwt(key, asked, received, expires_at)

    @contextmanager
    def ending(self, whose: Key | Owner, *, bound: float, of_jwts: bool = False) -> Iterator[Ending]:
        """Ask for the end of *whose* inside; if that raises, nobody knows whether it came.

        *of_jwts*: only the JWTs handed out before end, as by "sign out all".
        """
        ending = Ending(bound, self._clock(), of_jwts=of_jwts)
        with self._lock:
            whose.endings.append(ending)
        yield ending
        with self._lock:
            ending.answered = self._clock()
            self._decide()

    @contextmanager
    def resuming(self, ending: Ending, *, bound: float) -> Iterator[None]:
        """Take *ending* back inside; if that raises, nobody knows whether it did."""
        with self._lock:
            ending.resume_asked = self._clock()
        yield
        with self._lock:
            ending.live_again = self._clock() + bound

    def expires(self, key: Key, at: float, *, bound: float = 1.0) -> None:
        """Say that *key* expires at that moment, give or take its whole seconds."""
        with self._lock:
            key.endings.append(Ending(bound, at - 1.0, answered=at))

    @contextmanager
    def fault(self, name: str, *, recovery: float = 5.0) -> Iterator[None]:
        """Break something inside, and mend it; 503 is excused until *recovery* seconds later."""
        began = self._clock()
        with self._lock:
            self.faults.append((name, began, inf))
            place = len(self.faults) - 1
        try:
            yield
        finally:
            with self._lock:
                self.faults[place] = (name, began, self._clock() + recovery)

    def judge(self, answer: Answer) -> str:
        """Count *answer* and return what is wrong with it, or nothing."""
        with self._lock:
            self.counts[answer.door, answer.kind, answer.status] += 1
            why = self._why_wrong(answer)
            if why:
                self.wrong.append(Wrong(answer, why))
            elif answer.accepts and is_open(answer.credential):
                self._undecided.append(answer)
            return why

    def _decide(self) -> None:
        undecided, self._undecided = self._undecided, []
        for answer in undecided:
            why = self._why_accepted(answer)
            if why:
                self.wrong.append(Wrong(answer, why))
            elif is_open(answer.credential):
                self._undecided.append(answer)

    def _why_wrong(self, answer: Answer) -> str:
        if answer.status is None:
            return ""  # whether a connection may be cut is for the caller to say; see `counts`
        if answer.received - answer.sent > self._patience:
            return f"took {answer.received - answer.sent:.1f} s"
        if answer.accepts:
            return self._why_accepted(answer)
        live = must_accept(answer.credential, answer.sent, answer.received)
        if answer.refuses:
            return "refused while live" if live else ""
        if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
            return self._why_unavailable(answer, live=live)
        limited = answer.status == HTTPStatus.TOO_MANY_REQUESTS and answer.credential is Stranger.UNKNOWN
        return "" if limited and answer.tells_when_to_retry() else f"status {answer.status}"

    def _why_accepted(self, answer: Answer) -> str:
        if isinstance(answer.credential, Stranger):
            return f"{answer.kind} key accepted"
        since = dead_since(answer.credential, answer.sent, answer.received)
        return answer.mistaken_identity() if since is None else f"accepted {answer.sent - since:.3f} s too late"

    def _why_unavailable(self, answer: Answer, *, live: bool) -> str:
        if answer.credential is Stranger.FORGED:
            return "503 for a forged key"
        if not answer.tells_when_to_retry():
            return "503 without a Retry-After of a second or more"
        if not live:
            return ""
        faults = [name for name, began, ended in self.faults if answer.received > began and answer.sent < ended]
        self.excused[faults[-1] if faults else "no fault"] += 1
        return "503 without a fault" if self._outages_need_a_cause and not faults else ""
