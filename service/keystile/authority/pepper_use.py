"""What still needs each pepper: counted over the live keys, for whoever wants to take one away."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from keystile.peppers import Pepper, Peppers
    from keystile.records import EarlierSecret, KeyRecord, Owner


@dataclass(frozen=True, slots=True)
class PepperUse:
    """Live keys by the pepper ids of their *digests* and *stamps*; an earlier secret that is still good counts too.

    *older*: live records of the older form, whose keys have no stamp. *unclear*: records that cannot be read, and
    secrets whose stamp nobody noted.
    """

    digests: Counter[str] = field(default_factory=Counter)
    stamps: Counter[str] = field(default_factory=Counter)
    older: int = 0
    unclear: int = 0

    @classmethod
    def of(cls, owner: Owner, now: datetime) -> PepperUse:
        """Return what the keys of that owner need."""
        live = [record for record in owner.records if record.is_live(now)]
        earlier = [secret for record in live for secret in record.earlier if now < secret.ends_at]
        secrets: list[KeyRecord | EarlierSecret] = [*(record for record in live if not record.is_older), *earlier]
        return cls(
            Counter(secret.digest_pepper for secret in secrets if secret.digest_pepper),
            Counter(secret.stamp_pepper for secret in secrets if secret.stamp_pepper),
            sum(record.is_older for record in live),
            len(owner.unreadable) + sum(not secret.stamp_pepper for secret in secrets),
        )

    def __add__(self, other: PepperUse) -> PepperUse:
        """Return both together."""
        return PepperUse(
            self.digests + other.digests,
            self.stamps + other.stamps,
            self.older + other.older,
            self.unclear + other.unclear,
        )

    def is_removable(self, pepper: Pepper, peppers: Peppers) -> bool:
        """Tell whether no live key needs *pepper*, which is not the current one."""
        needed = self.digests[pepper.id] + self.stamps[pepper.id] + self.unclear
        return pepper is not peppers.current and not needed

    def lost(self, peppers: Peppers) -> list[str]:
        """Return the ids of the peppers that keys name and that are not set."""
        return sorted({*self.digests, *self.stamps} - {pepper.id for pepper in peppers.all})

    def to_document(self, peppers: Peppers) -> dict[str, Any]:
        """Return what a reader is told."""
        return {
            "peppers": [
                {
                    "id": pepper.id,
                    "state": "retired" if pepper.retired else "current" if pepper is peppers.current else "accepted",
                    **self._counts(pepper.id),
                    "removable": self.is_removable(pepper, peppers),
                }
                for pepper in peppers.all
            ]
            + [
                {"id": pepper_id, "state": "not set", **self._counts(pepper_id), "removable": False}
                for pepper_id in self.lost(peppers)
            ],
            "older_records": self.older,
            "unclear": self.unclear,
        }

    def _counts(self, pepper_id: str) -> dict[str, int]:
        return {"digests": self.digests[pepper_id], "stamps": self.stamps[pepper_id]}
