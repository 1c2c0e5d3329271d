"""The signing keys as one process uses them: it shows new ones at once, and signs with them when all processes do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from keystile.errors import CannotTellError
from keystile.ports import AuditEvent, Notes
from keystile.signing_keys import (
    LIVE,
    KeyState,
    PublishedKey,
    SigningNote,
    choose,
    is_ready,
    published,
    seconds_needed,
    state_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystile.authority.auditing import Auditor
    from keystile.ports import Clock, KeysRead, SigningKeys, SigningNotes, Ticks

_log = structlog.get_logger(__name__)
LOOKED_EVERY = 1.0  # seconds
NOTED_EVERY = 5.0  # seconds, while nothing changes: a third of what a process may be silent for


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningTimes:
    """Seconds: how long verifiers may keep our public keys, and how long a JWT lives at most."""

    max_age: float
    token_ttl: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyView:
    """One signing key as its state shows. *loaded_by*: the live processes that show it.

    *needed_for*: seconds until no JWT signed by it can live; None while it is not previous.
    """

    key: PublishedKey
    state: KeyState
    loaded_by: tuple[str, ...] = ()
    needed_for: float | None = None


class SigningRing:
    """Keeps an issuer on the right key. *process* names this process, *on_change* hears when another key signs.

    A key that signs goes on signing until a newer one may: what other processes say later does not take it back.
    """

    def __init__(
        self,
        keys: SigningKeys,
        notes: SigningNotes,
        auditor: Auditor,
        *,
        process: str,
        algorithm: str,
        times: SigningTimes,
        clock: Clock,
        ticks: Ticks,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = keys
        self._notes = notes
        self._auditor = auditor
        self._process = process
        self._algorithm = algorithm
        self._times = times
        self._clock = clock
        self._ticks = ticks
        self._on_change = on_change
        self.keys: tuple[PublishedKey, ...] = ()
        self._faults: frozenset[str] = frozenset()
        self._complaints: frozenset[str] = frozenset()
        self._shown_since: dict[str, float] = {}
        self._ready: frozenset[str] = frozenset()
        self._signs = ""
        self._signs_since = ticks()
        self._noted = Notes()
        self._known_since: float | None = None
        self._noted_at = float("-inf")

    @property
    def signs(self) -> str:
        """The `kid` of the key that signs."""
        return self._signs

    async def start(self) -> None:
        """Sign with the right key by what is there and what others note; what is out of reach is heard later."""
        try:
            self._noted = await self._notes.read()
        except CannotTellError as error:
            _log.warning("what others note of signing keys is out of reach", why=str(error))
        await self.look()

    async def look(self) -> None:
        """Read what keys there are, show all of them, and sign with the right one by what is known."""
        self._take(await self._store.read())

    async def hear(self) -> None:
        """Read what all processes note. Raises `CannotTellError`."""
        self._noted = await self._notes.read()
        self._settle()

    async def tell(self) -> None:
        """Note what this process shows and signs with, and sign with the right key by what all say.

        Raises `CannotTellError`: then nothing changes.
        """
        now = self._ticks()
        note = SigningNote(
            process=self._process,
            signs=self._signs,
            signs_for=now - self._signs_since,
            loaded={kid: now - since for kid, since in self._shown_since.items()},
        )
        try:
            self._noted = await self._notes.note(note)
        except CannotTellError:
            self._known_since = None
            raise
        if not self._noted.known or self._known_since is None:
            self._known_since = now  # the store is new, or lost what it knew: others have not spoken yet
        self._noted_at = now
        self._complain()
        self._settle()
        if self._signs != note.signs:
            await self.tell()  # the others adopt it as soon as they hear of it

    async def run(self) -> None:
        """Look every second, and tell as often as needed, until cancelled."""
        while True:
            before = self._shown_since.keys()
            await self.look()
            waits = any(state is KeyState.NEXT for state in self.states().values())
            due = self._ticks() - self._noted_at >= NOTED_EVERY
            if due or waits or before != self._shown_since.keys():
                try:
                    await self.tell()
                except CannotTellError as error:
                    _log.debug("signing keys are not noted", why=str(error))
            await asyncio.sleep(LOOKED_EVERY)

    def states(self) -> dict[str, KeyState]:
        """Return the state of each key by `kid`."""
        return {key.kid: state_of(key, self.keys, self._algorithm, self._ready) for key in self.keys}

    def overview(self) -> tuple[KeyView, ...]:
        """Return what is known of every key, by what was heard last."""
        states, noted = self.states(), self._noted.noted
        current = next(key for key in self.keys if states[key.kid] is KeyState.CURRENT)
        now = self._clock().timestamp()
        views = []
        for key in self.keys:
            loaded_by = self.processes(key.kid)
            needed = None
            if states[key.kid] is KeyState.PREVIOUS:
                needed = seconds_needed(key, current, noted, now, self._times.token_ttl)
            views.append(KeyView(key=key, state=states[key.kid], loaded_by=loaded_by, needed_for=needed))
        return tuple(views)

    def processes(self, showing: str = "") -> tuple[str, ...]:
        """Return the live processes that show that key ("": all), by what was heard last."""
        live = (each.note for each in self._noted.noted if each.is_live)
        return tuple(sorted(note.process for note in live if not showing or showing in note.loaded))

    def _take(self, read: KeysRead) -> None:
        for fault in set(read.faults) - self._faults:
            self._auditor.alert(fault)
        self._faults = frozenset(read.faults)
        if read.keys == self.keys:
            return  # a key that waits is judged by what was just heard: see `tell`
        self.keys = read.keys
        self._ready &= {key.kid for key in read.keys}
        self._settle(anew=True)

    def _settle(self, *, anew: bool = False) -> None:
        """Sign with the right key, and show what there is if that is *anew*."""
        self._ready |= {key.kid for key in self.keys if self._may_sign(key)}
        kid = choose(self.keys, self._algorithm, self._ready).kid
        if kid == self._signs and not anew:
            return
        self._store.use(kid)
        now = self._ticks()
        shown = published(self.keys, kid)
        if len(shown) < len(self.keys) and anew:
            self._auditor.alert(f"there are {len(self.keys)} signing keys: {len(shown)} are shown")
        self._shown_since = {key.kid: self._shown_since.get(key.kid, now) for key in shown}
        if kid != self._signs:
            if self._signs:
                detail = {"kid": kid, "before": self._signs, "process": self._process}
                self._auditor.changed(AuditEvent(event="signing_key_used", outcome="changed", detail=detail))
            self._signs, self._signs_since = kid, now
            self._on_change()

    def _may_sign(self, key: PublishedKey) -> bool:
        certain = self._known_since is not None and self._ticks() - self._known_since >= LIVE
        now = self._clock().timestamp()
        return is_ready(key, self._noted.noted, now, self._times.max_age, certain=certain)

    def _complain(self) -> None:
        """Alert, once, to what others say that cannot be right."""
        here = {key.kid for key in self.keys}
        wrong = {
            f"{each.note.process} signs with {each.note.signs}, which is not here"
            for each in self._noted.noted
            if each.is_live and each.note.signs not in here
        }
        if self._noted.dropped:
            wrong.add("notes on signing keys with a wrong MAC are passed over")
        for what in wrong - self._complaints:
            self._auditor.alert(what)
        self._complaints = frozenset(wrong)
