"""Verdicts: what a look-up found, with all that is needed to judge later whether it still counts."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from keystile.changes import Position
from keystile.records import KeyRecord, Owner

if TYPE_CHECKING:
    from datetime import datetime

    from keystile.meters import Meter


@dataclass(frozen=True, slots=True)
class ReusableJwt:
    """A JWT for the default audience that may be handed out again until *until* (epoch seconds).

    *maker* names issuer, audience and signing key: who has others does not hand it out.
    """

    text: str
    scopes: tuple[str, ...]
    until: float
    maker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A proved key's record and owner as read at *read_at* (epoch seconds), when the log stood at *position*.

    It says nothing about the request, and nothing about now: `decide` does, at each use. *jwt* was made from it and
    ends with it.
    """

    record: KeyRecord
    owner: Owner
    position: Position
    read_at: float
    jwt: ReusableJwt | None = None

    @classmethod
    def of(cls, owner: Owner, record: KeyRecord, position: Position, read_at: float) -> Verdict:
        """Return the verdict on what was found, holding only what later decisions need."""
        owner = replace(owner, records=(), unreadable=(), lookups=frozenset())
        return cls(record=record.pared(), owner=owner, position=position, read_at=read_at)

    def to_text(self) -> str:
        """Return the form that is sealed into a cache."""
        owner, jwt = self.owner, self.jwt
        return json.dumps(
            [
                self.record.to_document(),
                [owner.id, owner.username, owner.enabled, owner.not_before],
                [self.position.incarnation, self.position.offset],
                self.read_at,
                None if jwt is None else [jwt.text, jwt.scopes, jwt.until, jwt.maker],
            ],
            separators=(",", ":"),
        )

    @classmethod
    def from_text(cls, text: bytes | str) -> Verdict:
        """Read what `to_text` wrote; raises ValueError, KeyError or TypeError on anything else."""
        document, owner, position, read_at, jwt = json.loads(text)
        owner_id, username, enabled, not_before = owner
        return cls(
            record=KeyRecord.from_document(document),
            owner=Owner(id=owner_id, username=username, enabled=enabled, not_before=not_before),
            position=_position(*position),
            read_at=float(read_at),
            jwt=None if jwt is None else _jwt(*jwt),
        )

    def seconds_to_expiry(self, now: datetime) -> float:
        """Return how long the key has to live; infinity if it never expires."""
        expires_at = self.record.expires_at
        return float("inf") if expires_at is None else (expires_at - now).total_seconds()


class Known:
    """A verdict as one process keeps it until *kept_until*, with what was judged and prepared from it.

    All moments are ticks. While the log is heard, its *version* is the same and *stands_until* has not come, judging
    again would say the same: the key may be used. *answer* is the verify door's, good until *answer_until*; the JWT is
    then in there, and not kept twice. The last line in the audit log counts until *audited_until*. Its requests count
    on *meters*: none if it has no limits.
    """

    __slots__ = (
        "answer",
        "answer_until",
        "audited_until",
        "kept_until",
        "meters",
        "stands_until",
        "verdict",
        "version",
    )

    def __init__(self, verdict: Verdict, kept_until: float, audited_until: float) -> None:
        self.verdict = verdict
        self.kept_until = kept_until
        self.audited_until = audited_until
        self.version = -1
        self.stands_until = 0.0
        self.meters: tuple[Meter, ...] = ()
        self.answer: tuple[bytes, ...] = ()
        self.answer_until = 0.0


def _position(incarnation: str, offset: int) -> Position:
    return Position(sys.intern(incarnation), offset)


def _jwt(text: str, scopes: list[str], until: float, maker: str) -> ReusableJwt:
    return ReusableJwt(text, tuple(scopes), float(until), sys.intern(maker))
