"""Reconciling: after an old state of the directory was put back, every record is held against its floor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keystile.ports import AuditEvent

if TYPE_CHECKING:
    from keystile.authority.auditing import Auditor
    from keystile.authority.stops import Stops
    from keystile.changes import Floor
    from keystile.ports import VerdictCache
    from keystile.records import KeyRecord, Owner


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Key ids: whose death or suspension was *restored*, whose death was *said* again, and which stay *undone*.

    An undone key is refused: what was changed of it (a secret, its policy) stands nowhere any more.
    """

    keys: int = 0
    restored: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    undone: tuple[str, ...] = ()

    def __add__(self, other: Reconciled) -> Reconciled:
        """Return both together."""
        return Reconciled(
            self.keys + other.keys,
            self.restored + other.restored,
            self.said + other.said,
            self.undone + other.undone,
        )


@dataclass(frozen=True, kw_only=True)
class Reconciler:
    """Compares one owner at a time; *floors* is where they are kept."""

    floors: VerdictCache
    stops: Stops
    auditor: Auditor

    async def review(self, owner: Owner) -> Reconciled:
        """Put right what can be put right of that owner's keys. Raises `CannotTellError` or a `ChangeRefusedError`."""
        done = Reconciled(len(owner.records))
        for record in owner.records:
            done += await self._review(owner, record)
        return done

    async def _review(self, owner: Owner, record: KeyRecord) -> Reconciled:
        floor = await self.floors.floor(record.key_id)
        if is_unsaid(record, floor):
            await self.stops.affirm(owner, record)
            return Reconciled(said=(record.key_id,))
        if floor is None or not is_undone(record, floor):
            return Reconciled()
        if floor.dead or floor.suspends:
            await self.stops.restore(floor, owner)
            return Reconciled(restored=(record.key_id,))
        self.auditor.changed(
            AuditEvent(event="change_undone", outcome="refused", key_id=record.key_id, owner=owner.username)
        )
        return Reconciled(undone=(record.key_id,))


def is_unsaid(record: KeyRecord, floor: Floor | None) -> bool:
    """Tell whether the record is revoked, and no floor says so."""
    return record.revoked_at is not None and (floor is None or not floor.dead)


def is_undone(record: KeyRecord, floor: Floor) -> bool:
    """Tell whether somebody put back a record from before the change that left this floor."""
    return record.revoked_at is None and (floor.dead or record.gen < floor.gen)
