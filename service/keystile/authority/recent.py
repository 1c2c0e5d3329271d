"""The recent audit: what happened to keys also goes where it can be asked for, and never holds up what is audited."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog
from cachetools import TTLCache

from keystile.errors import CannotTellError
from keystile.ports import AuditEvent, KeptEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystile.ports import AuditLog, Clock, RecentEvents, Ticks

_log = structlog.get_logger(__name__)
PAUSE = 1.0  # seconds between two flushes
REPEATED = 60.0  # seconds in which the same refusal of a key is kept once
MOST_WAITING = 10_000
_AT_ONCE = 200  # events in one round trip
_NOT_ASKED_FOR = frozenset({"exchange", "alert"})  # unless they name a key


class RecentAudit:
    """An `AuditLog` that hands every event on, and keeps in a queue those that somebody may ask for.

    Those are changes and refusals: all that name a key, and whatever else is done by management. The same refusal of
    a key from the same address is kept once a minute, so that nobody with a key can wash everything else away.
    """

    def __init__(self, inner: AuditLog, *, clock: Clock, ticks: Ticks, most_waiting: int = MOST_WAITING) -> None:
        self._inner = inner
        self._clock = clock
        self._most = most_waiting
        self._waiting: deque[KeptEvent] = deque()
        self._repeated: TTLCache[tuple[str | None, ...], bool] = TTLCache(10_000, REPEATED, timer=ticks)
        self._batch: tuple[str, Sequence[KeptEvent]] = ("", ())
        self._losing = False
        self.lost = 0

    def record(self, event: AuditEvent) -> None:
        """See `AuditLog.record`."""
        self._inner.record(event)
        if not _is_kept(event) or self._is_repeated(event):
            return
        if len(self._waiting) < self._most:
            self._waiting.append(KeptEvent(at=self._clock().timestamp(), event=_writable(event)))
            return
        self.lost += 1
        if not self._losing:  # once: the next word is how many
            self._losing = True
            self._say("the recent audit is full: events are lost to it, not to the log", 1)

    async def flush(self, store: RecentEvents) -> None:
        """Put what waits into *store*; what cannot be put waits on. Never raises for a store out of reach."""
        try:
            while self._batch[1] or self._waiting:
                if not self._batch[1]:
                    some = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
                    self._batch = secrets.token_hex(8), some
                await store.add(*self._batch)  # again under the same id if its outcome is unknown
                self._batch = ("", ())
        except CannotTellError as error:
            _log.info("the recent audit waits", why=str(error))
            return
        if self._losing:
            self._losing = False
            self._say("the recent audit goes on", self.lost)

    async def run(self, store: RecentEvents) -> None:
        """Flush once a second until cancelled."""
        while True:
            await asyncio.sleep(PAUSE)
            await self.flush(store)

    def _is_repeated(self, event: AuditEvent) -> bool:
        if event.outcome != "refused":
            return False
        same = (event.key_id, event.event, event.reason, event.address)
        if same in self._repeated:
            return True
        self._repeated[same] = True
        return False

    def _say(self, what: str, count: int) -> None:
        self._inner.record(AuditEvent(event="alert", outcome="noticed", reason=what, count=count))


def _writable(event: AuditEvent) -> AuditEvent:
    """Return *event* with names that every store can find it by: half a character is none that can be written."""
    return replace(event, key_id=_text(event.key_id), owner=_text(event.owner))


def _text(name: str | None) -> str | None:
    return None if name is None else name.encode(errors="replace").decode()


def _is_kept(event: AuditEvent) -> bool:
    return event.outcome != "accepted" and (event.key_id is not None or event.event not in _NOT_ASKED_FOR)
