"""Deaths that were said while the directory was away: written as soon as it answers again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystile.ports import AuditEvent
from keystile.records import RevocationReason

if TYPE_CHECKING:
    from keystile.authority.auditing import Auditor
    from keystile.authority.memory import ChangeMemory
    from keystile.changes import Change
    from keystile.ports import Clock, Directory
    from keystile.records import Owner


class PendingDeaths:
    """Brings the directory to what the change log says. Doing it twice, or in two processes, does no harm."""

    def __init__(self, memory: ChangeMemory, directory: Directory, auditor: Auditor, *, clock: Clock) -> None:
        self._memory = memory
        self._directory = directory
        self._auditor = auditor
        self._clock = clock
        self._written: set[str] = set()

    async def write(self) -> None:
        """Write what is pending. Raises `CannotTellError` while the directory is still away."""
        for death in self._memory.pending():
            if death.key_id not in self._written:
                for owner in await self._directory.find(death.key_id):
                    await self._write(owner, death)
                self._written.add(death.key_id)

    async def _write(self, owner: Owner, death: Change) -> None:
        now = self._clock()

        def change(current: Owner) -> Owner:
            record = current.record(death.key_id)
            if record is None or record.revoked_at is not None:
                return current
            return current.with_record(record.revoked(now, RevocationReason.UNSPECIFIED, death.gen))

        await self._directory.update(owner.id, change, urgent=True)
        event = AuditEvent(event="key_revoked", outcome="done", key_id=death.key_id, owner=owner.username)
        self._auditor.changed(event)
