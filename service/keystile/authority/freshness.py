"""How long a verdict may be used: fresh by its age and by the last poll of events, stale while nobody can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta

    from keystile.authority.memory import ChangeMemory
    from keystile.ports import Clock
    from keystile.verdicts import Verdict

POLL_VOUCHES_FOR = 60.0  # seconds that a complete poll of admin events keeps verdicts fresh
_SKEW = 5.0  # seconds another process's clock may be ahead of ours


class Freshness:
    """Judges verdicts at each use. *followed*: changes are made elsewhere too, and only polls tell of them."""

    def __init__(
        self, memory: ChangeMemory, *, clock: Clock, cache_ttl: timedelta, stale_ttl: timedelta, followed: bool
    ) -> None:
        self._memory = memory
        self._clock = clock
        self._ttl = cache_ttl.total_seconds()
        self._stale_ttl = stale_ttl.total_seconds()
        self._followed = followed

    def counts(self, verdict: Verdict) -> bool:
        """Tell whether *verdict* may be used without asking anybody."""
        now = self._clock().timestamp()
        return (
            self._memory.counts_verdict(verdict, now) and now - verdict.read_at >= -_SKEW and now < self._end(verdict)
        )

    def counts_stale(self, verdict: Verdict) -> bool:
        """Tell whether *verdict* may still be used because the directory cannot be asked."""
        now = self._clock().timestamp()
        return self._memory.counts_verdict(verdict, now) and now < self._end(verdict) + self._stale_ttl

    def _end(self, verdict: Verdict) -> float:
        end = verdict.read_at + self._ttl
        if not self._followed:
            return end
        polled = self._memory.polled
        if polled is None or verdict.read_at < polled.followed_since - _SKEW:
            return 0.0  # read before a gap: nobody will ever tell what changed in it
        return min(end, polled.polled_at + POLL_VOUCHES_FOR)
