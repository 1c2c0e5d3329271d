"""Verdicts: what a look-up found, with all that is needed to judge later whether it still counts."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from keystile.changes import Position
from keystile.records import KeyRecord, Owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A proved key's record and owner as read at *read_at* (epoch seconds), when the log stood at *position*.

    It says nothing about the request, and nothing about now: `decide` does, at each use. *prepared* is where the
    doors keep answers made from it, so that they end with it.
    """

    record: KeyRecord
    owner: Owner
    position: Position
    read_at: float
    prepared: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def to_text(self) -> str:
        """Return the form that is sealed into a cache; of the owner only what `decide` and a JWT need."""
        owner = self.owner
        return json.dumps(
            {
                "record": self.record.to_text(),
                "owner": [owner.id, owner.username, owner.enabled, owner.not_before],
                "position": [self.position.incarnation, self.position.offset],
                "read_at": self.read_at,
                "older": self.record.older_hash,
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_text(cls, text: str) -> Verdict:
        """Read what `to_text` wrote; raises ValueError, KeyError or TypeError on anything else."""
        fields = json.loads(text)
        owner_id, username, enabled, not_before = fields["owner"]
        incarnation, offset = fields["position"]
        record = KeyRecord.from_text(fields["record"])
        return cls(
            record=replace(record, older_hash=fields["older"]),
            owner=Owner(id=owner_id, username=username, enabled=enabled, not_before=not_before),
            position=Position(incarnation, offset),
            read_at=float(fields["read_at"]),
        )
