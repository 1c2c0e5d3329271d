"""What a deployment's settings have to fit, counted over its keys for whoever looks for what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keystile.older import is_older_value

if TYPE_CHECKING:
    from datetime import datetime

    from keystile.records import Owner

_OLDER_LOOKUP = "older-"


@dataclass(slots=True)
class KeySurvey:
    """Grows with each owner that is seen; holds every key id, about 100 bytes each.

    *judging*: live keys whose policy judges requests. *older*: live keys of the older form; *by_bcrypt*: those of them
    that nothing but bcrypt can match.
    """

    judging: int = 0
    older: int = 0
    by_bcrypt: int = 0
    _holders: dict[str, tuple[str, str]] = field(default_factory=dict)
    _shared: dict[str, set[str]] = field(default_factory=dict)
    _live: set[str] = field(default_factory=set)

    def see(self, owner: Owner, now: datetime, *, hashes_count: bool) -> None:
        """Count the keys of that owner; *hashes_count*: the hash beside an older key can be used."""
        live = [record for record in owner.records if record.is_live(now)]
        older = [record for record in live if record.is_older]
        bare = [record for record in older if not (record.older_hash and hashes_count)]
        named = sum(lookup.startswith(_OLDER_LOOKUP) for lookup in owner.lookups)
        self.judging += sum(record.policy.judges_requests for record in live)
        self.older += len(older) + sum(is_older_value(kept.text) for kept in owner.unreadable)
        self.by_bcrypt += max(0, len(bare) - named)
        self._live.update(record.key_id for record in live)
        self._see_ids(owner)

    def doubles(self) -> dict[str, list[str]]:
        """Return the ids of live keys that more than one owner holds, in order, each with the usernames."""
        return {key_id: sorted(names) for key_id, names in sorted(self._shared.items()) if key_id in self._live}

    def _see_ids(self, owner: Owner) -> None:
        ids = {*owner.lookups, *(record.key_id for record in owner.records)}
        holder = owner.id, owner.username
        for key_id in ids:
            # The same owner may come on two pages, where somebody was deleted meanwhile.
            first_id, first_name = self._holders.setdefault(key_id, holder)
            if first_id != owner.id:
                self._shared.setdefault(key_id, {first_name}).add(owner.username)
