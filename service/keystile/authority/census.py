"""The census: how many keys are live, counted by whoever walks through all owners anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keystile.ports import Clock
    from keystile.records import Owner


class Census:
    """What the last whole walk of this process found: *live* keys of enabled owners, None before there was one.

    *counted_at* is in epoch seconds: where several processes tell a number, the latest counts.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._so_far = 0
        self.live: int | None = None
        self.counted_at = 0.0

    def begin(self) -> None:
        """Start from nothing."""
        self._so_far = 0

    def add(self, owners: Iterable[Owner]) -> None:
        """Count the keys of a page of owners."""
        now = self._clock()
        self._so_far += sum(record.is_live(now) for owner in owners if owner.enabled for record in owner.records)

    def end(self) -> None:
        """Tell what was counted."""
        self.live, self.counted_at = self._so_far, self._clock().timestamp()
