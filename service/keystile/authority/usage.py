"""The use of keys: counted in this process on every request, told to the store every few seconds, and read from it."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import structlog

from keystile.errors import CannotTellError, ChangeRefusedError, Reason
from keystile.ports import UsageBatch
from keystile.usage import (
    ENDPOINT,
    KEPT_DAYS,
    MAX_ENDPOINT,
    MAX_USER_AGENT,
    MOST,
    OTHERS,
    REFUSED,
    DayCounts,
    KeyUsage,
    LastUse,
    last_days,
    tellable,
)
from keystile.verdicts import NOT_USED, OTHER_PATHS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from keystile.errors import KeyRefusedError
    from keystile.policy import RequestContext
    from keystile.ports import Clock, Ticks, UsageStore
    from keystile.records import KeyRecord
    from keystile.verdicts import Known, Verdict

_log = structlog.get_logger(__name__)
PAUSE = 3.0  # seconds between two flushes
THROTTLE = 300.0  # seconds between two writes of the last use of one key
MOST_ROWS = 20_000  # keys and days that wait while the store is away
_SAME_MOMENT = 1.0  # seconds: of uses this close together the first is told
_MOST_SEEN = 100_000  # secrets used in the last five minutes, as many as there are verdicts
_MOST_NAMES = 100  # things counted of a key and day between two flushes
_AT_ONCE = 200  # keys in one round trip
_SLICE = 1_000  # keys between two moments in which others may run
# A refusal of these names no key, or one that nobody has shown to exist.
_NAMELESS = frozenset({Reason.MALFORMED, Reason.FORGED, Reason.UNKNOWN, Reason.JWT_INVALID})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What a service reports of a key's use; raises a `ChangeRefusedError` for what cannot be."""

    cost_cents: int = 0
    tokens: int = 0
    bytes: int = 0
    errors: int = 0
    endpoint: str = ""

    def __post_init__(self) -> None:
        for name, number in self.numbers().items():
            if type(number) is not int or not 0 <= number <= MOST:
                raise ChangeRefusedError(f"{name} is a whole number from 0 to 2**53")
        if len(self.endpoint) > MAX_ENDPOINT or not self.endpoint.isprintable():
            raise ChangeRefusedError(f"endpoint is at most {MAX_ENDPOINT} printable characters")

    def numbers(self) -> dict[str, int]:
        """Return the numbers by their names."""
        return {name: getattr(self, name) for name in ("cost_cents", "tokens", "bytes", "errors")}


class _Seen:
    """The last use of one secret of a key: *use* waits to be written, *written_at* (ticks) is when one was."""

    __slots__ = ("use", "written_at")

    def __init__(self) -> None:
        self.use: LastUse | None = None
        self.written_at = float("-inf")


class UsageRecorder:
    """Counts in memory what keys are used for, and tells the store; bounded, whatever happens to the store.

    A request of a key that stands is counted by `Known.used` alone; `accepted` sees one a minute of these, and every
    other. *door* is the path of the verify door: what a gateway asks below it is the endpoint.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        ticks: Ticks,
        alert: Callable[[str], None],
        door: str = "",
        most_rows: int = MOST_ROWS,
    ) -> None:
        self._clock = clock
        self._ticks = ticks
        self._alert = alert
        self._door = door
        self._most = most_rows
        self._standing: set[Known] = set()
        self._rows: dict[tuple[str, date], Counter[str]] = {}
        self._seen: dict[tuple[str, bool], _Seen] = {}
        self._batch: UsageBatch | None = None
        self._endpoint = lru_cache(maxsize=256)(self._name_of)
        self._losing = False
        self._lost_lately = False
        self.lost = 0

    def accepted(
        self, verdict: Verdict, context: RequestContext, known: Known | None = None, *, gen: int | None = None
    ) -> None:
        """Count a request of that key, and remember by whom. *known*: where those to come are counted.

        *gen* is that of the JWT that was presented in the key's place.
        """
        if known is None:
            self._count(verdict.record.key_id, {"requests": 1, self._endpoint(context.path): 1})
        else:
            known.used(context.path)
            self._standing.add(known)
        ends_at = _earlier_end(verdict.record, verdict.record.gen if gen is None else gen)
        key = verdict.record.key_id, ends_at is not None
        seen = self._seen.get(key)
        if seen is None:
            if len(self._seen) >= _MOST_SEEN:
                self._lose()
                return
            seen = self._seen[key] = _Seen()
        used_at = self._clock().timestamp()
        if seen.use is not None and 0 <= used_at - seen.use.at < _SAME_MOMENT:
            return
        seen.use = LastUse(
            key_id=verdict.record.key_id,
            at=used_at,
            address=context.address,
            user_agent=tellable(context.user_agent, MAX_USER_AGENT),
            secret_ends_at=ends_at,
        )

    def refused(self, refusal: KeyRefusedError) -> None:
        """Count a refusal of a key that exists."""
        if refusal.key_id is not None and refusal.reason not in _NAMELESS:
            self._count(refusal.key_id, {REFUSED + refusal.reason.value: 1})

    def limited(self, key_id: str) -> None:
        """Count that a key ran into one of its limits."""
        self._count(key_id, {"limit_hits": 1})

    def report(self, key_id: str, reported: Reported) -> None:
        """Add what a service reports of that key, which exists."""
        counts = {name: number for name, number in reported.numbers().items() if number}
        if reported.endpoint:
            counts[ENDPOINT + tellable(reported.endpoint, MAX_ENDPOINT)] = 1
        self._count(key_id, counts)

    async def flush(self, store: UsageStore, *, all_uses: bool = False) -> None:
        """Tell *store* what was counted; what it does not take waits on. Never raises for a store out of reach.

        *all_uses*: also the last uses whose time has not come, at the end of the process.
        """
        await self._gather()
        uses = await self._due(all_uses=all_uses)
        try:
            while self._batch is not None or self._rows or uses:
                if self._batch is None:
                    self._batch = self._next_batch(uses)
                await store.add(self._batch)  # again under the same id if its outcome is unknown
                self._batch = None
        except CannotTellError as error:
            _log.info("the use of keys is told later", why=str(error))
            return
        finally:
            self._wait_on(uses)  # none, unless it was not told
        self._losing, self._lost_lately = self._lost_lately, False

    async def run(self, store: UsageStore) -> None:
        """Flush every few seconds until cancelled."""
        while True:
            await asyncio.sleep(PAUSE)
            await self.flush(store)

    async def _gather(self) -> None:
        """Collect what was counted where verdicts are kept; those that no longer stand are let go."""
        now = self._ticks()
        for number, known in enumerate(list(self._standing), 1):
            uses, known.uses = known.uses, NOT_USED
            if now >= known.stands_until:
                self._standing.discard(known)  # the next request of it is judged, and puts it back
            if uses:
                counts = Counter({"requests": sum(uses.values())})
                for path, count in uses.items():
                    counts[self._endpoint(path)] += count
                self._count(known.verdict.record.key_id, counts)
            if number % _SLICE == 0:
                await asyncio.sleep(0)

    def _count(self, key_id: str, counts: Mapping[str, int]) -> None:
        row = key_id, self._clock().date()
        held = self._rows.get(row)
        if held is None:
            if len(self._rows) >= self._most:
                self._lose()
                return
            held = self._rows[row] = Counter()
        for name, count in counts.items():
            name = OTHERS if name not in held and len(held) >= _MOST_NAMES and name.startswith(ENDPOINT) else name  # noqa: PLW2901
            held[name] = min(MOST, held[name] + count)

    async def _due(self, *, all_uses: bool) -> list[LastUse]:
        """Return the last uses to write now: the first of a key at once, the next five minutes later."""
        now = self._ticks()
        due: list[LastUse] = []
        for number, (key, seen) in enumerate(list(self._seen.items()), 1):
            if number % _SLICE == 0:
                await asyncio.sleep(0)
            if not all_uses and now < seen.written_at + THROTTLE:
                continue
            if seen.use is None:
                del self._seen[key]
                continue
            due.append(seen.use)
            seen.use, seen.written_at = None, now
        return due

    def _wait_on(self, uses: list[LastUse]) -> None:
        """Let uses that were not written be due at once."""
        for use in uses:
            seen = self._seen.get((use.key_id, use.is_earlier))
            if seen is not None:
                seen.use, seen.written_at = seen.use or use, float("-inf")

    def _next_batch(self, uses: list[LastUse]) -> UsageBatch:
        rows = [(row, self._rows.pop(row)) for row in list(self._rows)[:_AT_ONCE]]
        some, uses[:_AT_ONCE] = tuple(uses[:_AT_ONCE]), []
        counts = tuple(DayCounts(key_id, day, dict(counts)) for (key_id, day), counts in rows)
        return UsageBatch(id=secrets.token_hex(8), counts=counts, uses=some)

    def _name_of(self, path: str) -> str:
        if path == OTHER_PATHS:
            return OTHERS
        below = path.removeprefix(self._door) if path.startswith(f"{self._door}/") else path
        return ENDPOINT + (tellable(below, MAX_ENDPOINT) or "/")

    def _lose(self) -> None:
        self.lost += 1
        self._lost_lately = True
        if not self._losing:  # one alert until the store takes everything again
            self._losing = True
            self._alert("the use of keys cannot be told, and there is too much to keep: some is not counted")


class UsageReader:
    """Tells how a key was used."""

    def __init__(self, store: UsageStore, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def usage(self, key_id: str, days: int = 30) -> KeyUsage:
        """Return the use of that key over the last *days* (1 to 400). Raises `CannotTellError`."""
        if not 1 <= days <= KEPT_DAYS:
            raise ChangeRefusedError(f"days is a number from 1 to {KEPT_DAYS}")
        wanted = last_days(self._clock().date(), days)
        rows = await self._store.days(key_id, wanted)
        return KeyUsage.of(key_id, wanted, rows, await self._store.last_uses(key_id))


def _earlier_end(record: KeyRecord, gen: int) -> float | None:
    """Return when the earlier secret ends that gives JWTs of generation *gen*, None if that is the current one."""
    latest = next(iter(record.earlier), None)
    return latest.ends_at.timestamp() if latest is not None and gen <= latest.gen else None
