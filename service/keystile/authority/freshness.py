"""How long a verdict may be used: fresh by its age and by the last poll of events, stale while nobody can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta

    from keystile.authority.memory import ChangeMemory
    from keystile.ports import Clock, Ticks
    from keystile.verdicts import Verdict

_SKEW = 5.0  # seconds another process's clock may be ahead of ours
_SHARED_NEEDS_POLL = 5.0  # seconds: the bound for changes made in Keycloak


class Freshness:
    """Judges verdicts at each use. *followed*: changes are made elsewhere too, and only polls tell of them."""

    def __init__(
        self,
        memory: ChangeMemory,
        *,
        clock: Clock,
        ticks: Ticks,
        cache_ttl: timedelta,
        stale_ttl: timedelta,
        followed: bool,
    ) -> None:
        self._memory = memory
        self._clock = clock
        self._ticks = ticks
        self._ttl = cache_ttl.total_seconds()
        self._stale_ttl = stale_ttl.total_seconds()
        self._followed = followed

    def remaining(self, verdict: Verdict) -> float:
        """Return for how many seconds *verdict* may be used without asking anybody; 0 or less: it may not."""
        now = self._clock().timestamp()
        age = now - verdict.read_at
        if age < -_SKEW or not self._memory.counts_verdict(verdict, now):
            return 0.0
        remaining = self._ttl - age
        return min(remaining, self._memory.fresh_until - self._ticks()) if self._followed else remaining

    def counts(self, verdict: Verdict) -> bool:
        """Tell whether *verdict* may be used without asking anybody."""
        return self.remaining(verdict) > 0

    def counts_shared(self, verdict: Verdict) -> bool:
        """Tell whether *verdict*, kept by another process, may be used.

        What happened in the directory while the log was away is told with the first poll after it. A process that was
        there knows meanwhile; one that started since would believe an older verdict.
        """
        if self._followed and not self._memory.followed_within(_SHARED_NEEDS_POLL):
            return False
        return self.counts(verdict)

    def counts_stale(self, verdict: Verdict) -> bool:
        """Tell whether *verdict* may still be used because the directory cannot be asked."""
        now = self._clock().timestamp()
        if not self._memory.counts_verdict(verdict, now) or now >= verdict.read_at + self._ttl + self._stale_ttl:
            return False
        return not self._followed or self._ticks() < self._memory.fresh_until + self._stale_ttl
