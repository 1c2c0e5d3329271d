"""Rotation of signing keys: the next one is made, and those go whose last JWT is dead."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from keystile.errors import ChangeRefusedError
from keystile.ports import AuditEvent
from keystile.signing_keys import MOST_PUBLISHED, KeyState

if TYPE_CHECKING:
    from keystile.authority.auditing import Auditor
    from keystile.authority.signing import KeyView, SigningRing
    from keystile.ports import Clock, SigningKeys
    from keystile.signing_keys import PublishedKey


@dataclass(frozen=True, slots=True)
class Rotated:
    """The key that was made, and those whose files went."""

    made: PublishedKey
    removed: tuple[PublishedKey, ...]


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """Rotates for a command: it shows no keys itself, and signs with none."""

    ring: SigningRing
    keys: SigningKeys
    auditor: Auditor
    clock: Clock
    max_age: timedelta

    async def overview(self) -> tuple[KeyView, ...]:
        """Return what there is now, by what every process notes. Raises `CannotTellError`."""
        await self.ring.look()
        await self.ring.hear()
        return self.ring.overview()

    async def rotate(self) -> Rotated:
        """Make the next key, and take away what nobody needs any more.

        Raises `ChangeRefusedError` while a key waits, `ConfigurationError` where nobody can write, `CannotTellError`.
        """
        views = await self.overview()
        waiting = [view.key for view in views if view.state is KeyState.NEXT]
        if waiting:
            raise ChangeRefusedError(
                f"{waiting[0].name} waits already: it signs once every process has shown it for {self._shown_for}, "
                "see keystile signing-keys list"
            )
        needed = [view for view in views if view.needed_for != 0]
        if len(needed) >= MOST_PUBLISHED:
            raise ChangeRefusedError(
                f"{len(needed)} keys are shown, and a verifier takes no more than {MOST_PUBLISHED}"
            )
        made = await self.keys.make(self.clock() + timedelta(seconds=math.ceil(self.max_age.total_seconds())))
        self.auditor.changed(AuditEvent(event="signing_key_made", outcome="changed", detail={"kid": made.kid}))
        return Rotated(made, await self._remove(views))

    async def purge(self) -> tuple[PublishedKey, ...]:
        """Take away the keys whose last JWT is dead. Raises `CannotTellError`."""
        return await self._remove(await self.overview())

    async def _remove(self, views: tuple[KeyView, ...]) -> tuple[PublishedKey, ...]:
        removed = [view.key for view in views if view.needed_for == 0 and await self.keys.remove(view.key)]
        for key in removed:
            self.auditor.changed(AuditEvent(event="signing_key_removed", outcome="changed", detail={"kid": key.kid}))
        return tuple(removed)

    @property
    def _shown_for(self) -> str:
        return f"{self.max_age.total_seconds():.0f} s"
