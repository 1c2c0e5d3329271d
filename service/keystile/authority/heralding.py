"""Heralding: an audit event 30, 10 and 1 day before a key ends, once per key and deployment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keystile.ports import AuditEvent
from keystile.records import format_moment, moment_of

if TYPE_CHECKING:
    from keystile.authority.auditing import Auditor
    from keystile.authority.idle import IdleExpiry
    from keystile.ports import Clock, Leases
    from keystile.records import KeyRecord, Owner

DAYS_AHEAD = (1, 10, 30)  # the least that fits is told: who comes late need not tell of all
_DAY = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Herald:
    """Tells of each end ahead of it. What was told is remembered by a lease that lasts until that end."""

    leases: Leases
    idle: IdleExpiry
    auditor: Auditor
    clock: Clock

    async def visit(self, owner: Owner) -> int:
        """Tell what is near for the keys of that owner, which takes no write. Raises `CannotTellError`."""
        for record in owner.records:
            if owner.enabled and record.is_live(self.clock()):
                await self._tell(owner, record)
        return 0

    async def _tell(self, owner: Owner, record: KeyRecord) -> None:
        expires_at = None if record.expires_at is None else record.expires_at.timestamp()
        await self._tell_end(owner, record, "expires", expires_at, record.issued_at.timestamp())
        idles_at = await self.idle.ends_at(record)
        if idles_at is not None and (expires_at is None or idles_at < expires_at):
            used_at = idles_at - (record.policy.idle_days or 0) * _DAY
            await self._tell_end(owner, record, "idle", idles_at, used_at)

    async def _tell_end(
        self, owner: Owner, record: KeyRecord, why: str, ends_at: float | None, began_at: float
    ) -> None:
        """Tell of an end at *ends_at*, unless it was this near from the beginning, or was told, or has come."""
        left = float("inf") if ends_at is None else ends_at - self.clock().timestamp()
        days = next((days for days in DAYS_AHEAD if 0 < left <= days * _DAY), None)
        if ends_at is None or days is None or ends_at - days * _DAY < began_at:
            return
        name = f"expiring:{record.key_id}:{days}:{why}:{int(ends_at)}"
        if await self.leases.take(name, left + _DAY) is None:
            return
        self.auditor.changed(
            AuditEvent(
                event="key_expiring",
                outcome="noticed",
                key_id=record.key_id,
                owner=owner.username,
                tenant=record.policy.tenant or None,
                reason=why,
                detail={"days": days, "ends_at": format_moment(moment_of(ends_at)), "name": record.name},
            )
        )
