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
                owners = await self._directory.find(death.key_id)
                for owner in owners:
                    await self._write(owner, death)
                if not owners:  # it was revoked unseen: perhaps a slip of the pen
                    self._audit(death, "no_such_key", None)
                self._written.add(death.key_id)

    async def _write(self, owner: Owner, death: Change) -> None:
        now = self._clock()

        def change(current: Owner) -> Owner:
            record = current.record(death.key_id)
            if record is None or record.revoked_at is not None:
                return current
            return current.with_record(record.revoked(now, RevocationReason.UNSPECIFIED, death.gen))

        await self._directory.update(owner.id, change, urgent=True)
        self._audit(death, "done", owner.username)

    def _audit(self, death: Change, outcome: str, owner: str | None) -> None:
        self._auditor.changed(AuditEvent(event="key_revoked", outcome=outcome, key_id=death.key_id, owner=owner))
