"""Incidents: what a stolen key has issued, and ending many keys at once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keystile.authority.walking import every_key
from keystile.errors import KeystileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from keystile.authority.stops import StoppedKey, Stops
    from keystile.ports import Clock, Directory
    from keystile.records import KeyRecord, Owner, RevocationReason

    Held = tuple[Owner, KeyRecord]
    Told = Callable[[], None]

_BY_KEY = "key:"
_AT_ONCE = 8  # owners


def nobody_told() -> None:
    """Tell nobody how far it is."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What became of many keys: *stopped*, and *failed* with why."""

    stopped: tuple[StoppedKey, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()

    def __add__(self, other: Swept) -> Swept:
        """Return both together."""
        return Swept(self.stopped + other.stopped, self.failed + other.failed)

    def to_document(self) -> dict[str, object]:
        """Return what a reader is told."""
        document: dict[str, object] = {
            "revoked": [each.key_id for each in self.stopped if each.held is not None],
            "pending": [each.key_id for each in self.stopped if each.held is None],
        }
        failed = [{"key_id": key_id, "why": why} for key_id, why in self.failed]
        return {**document, "failed": failed} if failed else document


@dataclass(frozen=True, kw_only=True)
class Incidents:
    """Finds and ends keys all over the store, those of disabled owners too. All of it walks through every owner."""

    directory: Directory
    stops: Stops
    clock: Clock

    async def fitting(self, wanted: Callable[[Owner, KeyRecord], bool]) -> list[Held]:
        """Return the live keys that are *wanted*. Raises `CannotTellError`."""
        return [
            (owner, record)
            async for owner, record in every_key(self.directory)
            if record.is_live(self.clock()) and wanted(owner, record)
        ]

    async def issued_by(self, key_ids: Sequence[str]) -> list[Held]:
        """Return the live keys that these issued, and what those issued, and so on. Raises `CannotTellError`.

        The line goes on through dead keys, as long as their tombstones are kept.
        """
        children: defaultdict[str, dict[str, Held]] = defaultdict(dict)
        async for owner, record in every_key(self.directory):
            for actor in (record.issued_by, record.rotated_by):  # who got a secret of it
                if actor.startswith(_BY_KEY):
                    children[actor.removeprefix(_BY_KEY)][record.key_id] = owner, record
        family: dict[str, Held] = {}
        roots, left = set(key_ids), list(key_ids)
        while left:
            born = children[left.pop()]
            left += [key_id for key_id in born if key_id not in family and key_id not in roots]
            family |= born
        now = self.clock()
        return [held for key_id, held in family.items() if key_id not in roots and held[1].is_live(now)]

    async def revoke_issued_by(
        self, key_ids: Sequence[str], *, reason: RevocationReason, by: str, told: Told = nobody_told
    ) -> Swept:
        """Revoke all that these keys issued; they are stopped before, so that they issue no more meanwhile.

        Raises `CannotTellError` if nobody can say what that is. Twice is as good as once.
        """
        swept, tried = Swept(), set[str]()
        while True:  # again, for what one of them issued while the first ones were looked for
            issued = [held for held in await self.issued_by(key_ids) if held[1].key_id not in tried]
            if not issued:
                return swept
            swept += await self.revoke_each(issued, reason=reason, by=by, told=told)
            tried |= {record.key_id for _, record in issued}

    async def revoke_each(
        self, keys: Iterable[Held], *, reason: RevocationReason, by: str, told: Told = nobody_told
    ) -> Swept:
        """Revoke these keys, a few owners at a time; one that cannot be revoked does not stand before the others."""
        by_owner: defaultdict[str, list[str]] = defaultdict(list)
        for owner, record in keys:
            by_owner[owner.id].append(record.key_id)
        places = asyncio.Semaphore(_AT_ONCE)

        async def revoke(key_ids: list[str]) -> Swept:
            swept = Swept()
            async with places:
                for key_id in key_ids:
                    swept += await self._revoke(key_id, reason, by)
                    told()
            return swept

        return sum(await asyncio.gather(*map(revoke, by_owner.values())), Swept())

    async def _revoke(self, key_id: str, reason: RevocationReason, by: str) -> Swept:
        try:
            return Swept((await self.stops.revoke(key_id, reason=reason, revoked_by=by),))
        except KeystileError as error:
            return Swept(failed=((key_id, str(error)),))
