"""Verdicts in this process: the hot path's one dictionary look-up, and the indexes that take verdicts away."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING

from keystile.ports import Cached

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from keystile.changes import Floor
    from keystile.keys import ApiKey
    from keystile.ports import Ticks
    from keystile.verdicts import Verdict


class InProcessVerdictCache:
    """A `VerdictCache` of at most *max_entries* verdicts, each kept for *ttl*; the oldest goes first.

    Oldest, not least used: then a hit changes nothing, and a verdict is read anew after its time anyway. Measured:
    2.5 KB a verdict, so 100,000 take some 250 MB. *floors* are those of a log in this process; none with Redis.
    """

    def __init__(
        self,
        ttl: timedelta,
        *,
        max_entries: int = 100_000,
        floors: Mapping[str, Floor] | None = None,
        ticks: Ticks = time.monotonic,
    ) -> None:
        self._ttl = ttl.total_seconds()
        self._max_entries = max_entries
        self._floors = floors if floors is not None else {}
        self._ticks = ticks
        self._entries: dict[bytes, tuple[float, Verdict]] = {}
        self._by_key: defaultdict[str, set[bytes]] = defaultdict(set)
        self._by_owner: defaultdict[str, set[bytes]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._entries)

    def peek(self, name: bytes) -> Verdict | None:
        """Return the verdict on the key of that cache name."""
        entry = self._entries.get(name)
        return entry[1] if entry is not None and self._ticks() < entry[0] else None

    def of_key(self, key_id: str) -> Verdict | None:
        """Return any verdict on that key, whichever of its secrets was proved."""
        found = (self.peek(name) for name in self._by_key.get(key_id, ()))
        return next((verdict for verdict in found if verdict is not None), None)

    def keep(self, name: bytes, verdict: Verdict) -> None:
        """Keep *verdict* on the key of that cache name, in place of any older one."""
        self._drop(name)
        if len(self._entries) >= self._max_entries:
            self._drop(next(iter(self._entries)))
        self._entries[name] = (self._ticks() + self._ttl, verdict)
        self._by_key[verdict.record.key_id].add(name)
        self._by_owner[verdict.owner.id].add(name)

    def drop_key(self, key_id: str) -> None:
        """Forget every verdict on that key."""
        for name in tuple(self._by_key.get(key_id, ())):
            self._drop(name)

    def drop_owner(self, owner_id: str) -> None:
        """Forget every verdict on that owner's keys."""
        for name in tuple(self._by_owner.get(owner_id, ())):
            self._drop(name)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._by_key.clear()
        self._by_owner.clear()

    async def get(self, key: ApiKey) -> Cached:
        """Return what is known of *key*; without a key id its floor is not."""
        return Cached(self.peek(key.name), self._floors.get(key.key_id) if key.key_id else None)

    async def put(self, key: ApiKey, verdict: Verdict) -> None:
        """Keep *verdict* for *key*."""
        self.keep(key.name, verdict)

    async def floor(self, key_id: str) -> Floor | None:
        """Return the floor of that key."""
        return self._floors.get(key_id)

    def _drop(self, name: bytes) -> None:
        entry = self._entries.pop(name, None)
        if entry is not None:
            _, verdict = entry
            _forget(self._by_key, verdict.record.key_id, name)
            _forget(self._by_owner, verdict.owner.id, name)


def _forget(index: dict[str, set[bytes]], at: str, name: bytes) -> None:
    names = index[at]
    names.discard(name)
    if not names:
        del index[at]
