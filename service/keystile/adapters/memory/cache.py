"""Verdicts in this process: the hot path's one dictionary look-up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from keystile.ports import Cached
from keystile.verdicts import Known

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from keystile.changes import Floor
    from keystile.keys import ApiKey
    from keystile.ports import Ticks
    from keystile.verdicts import Verdict


class InProcessVerdictCache:
    """A `NearVerdictCache` of at most *max_entries* verdicts (0: none), each kept for *ttl*; the oldest goes first.

    Oldest, not least used: then a hit changes nothing, and a verdict is read anew after its time anyway. *floors* are
    those of a log in this process; none with Redis.
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
        self._entries: dict[bytes, Known] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def known(self, name: bytes) -> Known | None:
        """Return what is kept under that cache name."""
        known = self._entries.get(name)
        return known if known is not None and self._ticks() < known.kept_until else None

    def peek(self, name: bytes) -> Verdict | None:
        """Return the verdict on the key of that cache name."""
        known = self.known(name)
        return None if known is None else known.verdict

    def keep(self, name: bytes, verdict: Verdict) -> None:
        """Keep *verdict* on the key of that cache name, in place of any older one."""
        before = self._entries.pop(name, None)
        if self._max_entries == 0:
            return
        if len(self._entries) >= self._max_entries:
            del self._entries[next(iter(self._entries))]
        audited_until = before.audited_until if before is not None else 0.0
        self._entries[name] = Known(verdict, self._ticks() + self._ttl, audited_until)

    def forget_answers(self) -> None:
        """See `NearVerdictCache.forget_answers`; some 10 ms for 100,000."""
        for known in self._entries.values():
            known.answer, known.prepared_until, known.answer_until = (), 0.0, 0.0

    async def get(self, key: ApiKey) -> Cached:
        """Return what is known of *key*; without a key id its floor is not."""
        return Cached(self.peek(key.name), self._floors.get(key.key_id) if key.key_id else None)

    async def put(self, key: ApiKey, verdict: Verdict) -> None:
        """Keep *verdict* for *key*."""
        self.keep(key.name, verdict)

    async def floor(self, key_id: str) -> Floor | None:
        """Return the floor of that key."""
        return self._floors.get(key_id)
