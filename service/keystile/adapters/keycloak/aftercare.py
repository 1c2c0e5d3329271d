"""Looking again at owners whose last write a late one may still undo, and putting acknowledged records right."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from keystile.errors import CannotTellError, ChangeRefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from keystile.ports import Ticks
    from keystile.records import KeyRecord, Owner

PAUSES = (1.0, 5.0, 30.0)  # seconds after the write in doubt
_RETRY = 5.0  # seconds between attempts to read while Keycloak is out of reach
_WATCHED = 1000  # owners


@dataclass(slots=True)
class _Watch:
    records: dict[str, KeyRecord] = field(default_factory=dict)
    due: list[float] = field(default_factory=list)
    task: asyncio.Task[None] | None = None


class Aftercare:
    """Re-reads owners with *read* and mends them with *mend*, in the background; at most 1,000 at a time."""

    def __init__(
        self,
        read: Callable[[str], Awaitable[Owner | None]],
        mend: Callable[[str, Callable[[Owner], Owner]], Awaitable[Owner]],
        *,
        alert: Callable[[str], None],
        ticks: Ticks,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self._read = read
        self._mend = mend
        self._alert = alert
        self._ticks = ticks
        self._pauses = pauses
        self._watched: dict[str, _Watch] = {}

    def watch(self, owner_id: str) -> None:
        """Look at that owner again soon, three times, for what will have been acknowledged by then."""
        if owner_id not in self._watched and len(self._watched) >= _WATCHED:
            self._alert(f"too many writes in doubt: owner {owner_id} is not looked at again")
            return
        watch = self._watched.setdefault(owner_id, _Watch())
        for pause in self._pauses:
            heappush(watch.due, self._ticks() + pause)
        if watch.task is None:
            watch.task = asyncio.create_task(self._follow(owner_id, watch))

    def acknowledged(self, owner_id: str, records: Iterable[KeyRecord]) -> None:
        """Note what a caller was told is stored, if that owner is being watched."""
        if watch := self._watched.get(owner_id):
            watch.records.update({record.key_id: record for record in records if not record.is_older})

    async def close(self) -> None:
        """Stop looking; what was in doubt stays in doubt."""
        tasks = [watch.task for watch in self._watched.values() if watch.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._watched.clear()

    async def _follow(self, owner_id: str, watch: _Watch) -> None:
        while watch.due:
            await asyncio.sleep(max(0.0, heappop(watch.due) - self._ticks()))
            try:
                await self._put_right(owner_id, watch)
            except CannotTellError:
                if not watch.due:  # until Keycloak answers again, however long that takes
                    heappush(watch.due, self._ticks() + _RETRY)
            except ChangeRefusedError as error:
                self._alert(f"a write in doubt to owner {owner_id} cannot be put right: {error}")
        del self._watched[owner_id]

    async def _put_right(self, owner_id: str, watch: _Watch) -> None:
        owner = await self._read(owner_id)
        if owner is not None and _restored(owner, watch.records) != owner:
            self._alert(f"an acknowledged change of owner {owner_id} was undone by a late one; it is written again")
            await self._mend(owner_id, lambda newer: _restored(newer, watch.records))


def _restored(owner: Owner, acknowledged: dict[str, KeyRecord]) -> Owner:
    for record in list(acknowledged.values()):
        stored = owner.record(record.key_id)
        lost = stored is None and not record.is_dead  # tombstones are purged in the ordinary course
        if lost or (stored is not None and stored.gen < record.gen):
            owner = owner.with_record(record)
    return owner
