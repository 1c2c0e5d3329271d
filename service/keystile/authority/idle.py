"""Idle expiry: a key whose policy says so ends when nobody has used it for N days."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from keystile.errors import CannotTellError
from keystile.records import Status

if TYPE_CHECKING:
    from keystile.ports import UsageStore
    from keystile.records import KeyRecord

_log = structlog.get_logger(__name__)
_DAY = 86_400
_MOST_DAYS = 100_000


class IdleExpiry:
    """Asks the use of a key when its record is read, and only then: a verdict lasts hours, this is about days.

    A store out of reach ends no key, and neither does one that was lost: its keys may idle anew from when it began.
    """

    def __init__(self, store: UsageStore) -> None:
        self._store = store

    async def idles_at(self, record: KeyRecord, read_at: float) -> float | None:
        """Return when the key that is presented at *read_at* has idled for too long (epoch seconds), None for never.

        If that moment has not come, this is a use of the key, and it may idle anew.
        """
        try:
            ends_at = await self.ends_at(record)
        except CannotTellError as error:
            _log.warning("nobody can tell whether a key was idle: it counts as used", why=str(error))
            return None
        return None if ends_at is None else ends_at if ends_at <= read_at else read_at + _seconds(record)

    async def ends_at(self, record: KeyRecord) -> float | None:
        """Return when the key will have idled for too long (epoch seconds) if nobody uses it, None for never.

        Raises `CannotTellError`.
        """
        if record.policy.idle_days is None or record.status is not Status.ACTIVE:
            return None
        uses = await self._store.last_uses(record.key_id)
        used_at = uses.latest_at
        if used_at is None:
            used_at = max(record.issued_at.timestamp(), uses.since)
        return used_at + _seconds(record)


def _seconds(record: KeyRecord) -> float:
    return min(record.policy.idle_days or 0, _MOST_DAYS) * _DAY
