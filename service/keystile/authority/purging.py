"""Purging: keys that expired long ago shrink to tombstones, and tombstones beyond the last ten go.

Nothing else takes a record away, but that a revoke makes room for its own tombstone, and audits that the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from keystile.ports import AuditEvent

if TYPE_CHECKING:
    from datetime import datetime

    from keystile.authority.auditing import Auditor
    from keystile.ports import Clock, Directory
    from keystile.records import Owner

KEPT_WHOLE = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Purged:
    """Key ids: *shrunk* are tombstones from now on, *dropped* are gone."""

    shrunk: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def __add__(self, other: Purged) -> Purged:
        """Return both together."""
        return Purged(self.shrunk + other.shrunk, self.dropped + other.dropped)

    def __len__(self) -> int:
        """Return how many records that is."""
        return len(self.shrunk) + len(self.dropped)

    @classmethod
    def between(cls, before: Owner, after: Owner) -> Purged:
        """Return what became of the records of *before*."""
        dropped = tuple(record.key_id for record in before.records if after.record(record.key_id) is None)
        shrunk = (
            record.key_id
            for record in before.records
            if not record.is_dead and (left := after.record(record.key_id)) is not None and left.is_dead
        )
        return cls(tuple(shrunk), dropped)

    def to_events(self, owner: Owner, by: str) -> list[AuditEvent]:
        """Return what is audited of it; *by* is whose word it was."""
        told = [*(("shrunk", key_id) for key_id in self.shrunk), *(("dropped", key_id) for key_id in self.dropped)]
        detail = {"by": by} if by else {}
        return [
            AuditEvent(event="key_purged", outcome=outcome, key_id=key_id, owner=owner.username, detail=detail)
            for outcome, key_id in told
        ]


@dataclass(frozen=True, kw_only=True)
class Purger:
    """Purges one owner at a time; *by* is whose word it is in the audit log."""

    directory: Directory
    auditor: Auditor
    clock: Clock

    def due(self, owner: Owner, older_than: timedelta = KEPT_WHOLE) -> Purged:
        """Return what a purge would do to that owner's keys now."""
        return Purged.between(owner, owner.purged(self._before(older_than)))

    async def purge(self, owner: Owner, older_than: timedelta = KEPT_WHOLE, *, by: str = "serve") -> Purged:
        """Purge that owner's keys, and audit each. Raises `CannotTellError` or a `ChangeRefusedError`."""
        if not self.due(owner, older_than):
            return Purged()
        before, done = self._before(older_than), Purged()

        def change(current: Owner) -> Owner:
            nonlocal done
            after = current.purged(before)
            done = Purged.between(current, after) or done  # asked once more after a lost answer, nothing is left
            return after

        await self.directory.update(owner.id, change)
        for event in done.to_events(owner, by):
            self.auditor.changed(event)
        return done

    async def visit(self, owner: Owner) -> int:
        """Purge that owner's keys, in passing; return how many writes that took."""
        return int(bool(await self.purge(owner)))

    def _before(self, older_than: timedelta) -> datetime:
        return self.clock() - older_than
