"""Verdicts: what a look-up found, with all that is needed to judge later whether it still counts."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from keystile.changes import Position
from keystile.records import KeyRecord, Owner
from keystile.restrictions import UNRESTRICTED, Policy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from keystile.meters import Meter

NOT_USED: Final[Mapping[str, int]] = MappingProxyType({})
OTHER_PATHS = ""  # where paths are counted of which there are too many to tell apart
_MOST_PATHS = 32


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
    ends with it. *idles_at*: when the key will have idled for too long, or had (epoch seconds).
    """

    record: KeyRecord
    owner: Owner
    position: Position
    read_at: float
    jwt: ReusableJwt | None = None
    idles_at: float | None = None

    @classmethod
    def of(
        cls, owner: Owner, record: KeyRecord, position: Position, read_at: float, idles_at: float | None = None
    ) -> Verdict:
        """Return the verdict on what was found, holding only what later decisions need."""
        owner = replace(owner, records=(), unreadable=(), lookups=frozenset())
        return cls(record=record.pared(), owner=owner, position=position, read_at=read_at, idles_at=idles_at)

    def to_text(self) -> str:
        """Return the form that is sealed into a cache."""
        owner, jwt = self.owner, self.jwt
        roles = None if owner.roles is None else sorted(owner.roles)
        return json.dumps(
            [
                replace(self.record, policy=UNRESTRICTED).to_document(),
                self.record.policy.to_text(),  # a text, so that reading it again and again costs nothing
                [owner.id, owner.username, owner.enabled, owner.not_before, roles, *_told(owner)],
                [self.position.incarnation, self.position.offset],
                self.read_at,
                None if jwt is None else [jwt.text, jwt.scopes, jwt.until, jwt.maker],
                self.idles_at,
            ],
            separators=(",", ":"),
        )

    @classmethod
    def from_text(cls, text: bytes | str) -> Verdict:
        """Read what `to_text` wrote; raises ValueError, KeyError or TypeError on anything else."""
        text = text if isinstance(text, str) else text.decode()
        document, policy, owner, position, read_at, jwt, idles_at = json.loads(text)
        owner_id, username, enabled, not_before, roles, *told = owner
        return cls(
            record=KeyRecord.from_document(document, policy=Policy.from_text(policy)),
            owner=Owner(
                id=owner_id,
                username=username,
                enabled=enabled,
                not_before=not_before,
                roles=None if roles is None else frozenset(roles),
                attributes={name: tuple(values) for name, values in told[0].items()} if told else None,
            ),
            position=_position(*position),
            read_at=float(read_at),
            jwt=None if jwt is None else _jwt(*jwt),
            idles_at=None if idles_at is None else float(idles_at),
        )

    def seconds_to_expiry(self, now: datetime) -> float:
        """Return how long the key has to live, used or not; infinity if it never expires."""
        expires_at, endless = self.record.expires_at, float("inf")
        idles_in = endless if self.idles_at is None else self.idles_at - now.timestamp()
        return min(idles_in, endless if expires_at is None else (expires_at - now).total_seconds())


class Known:
    """A verdict as one process keeps it until *kept_until*, with what was judged and prepared from it.

    All moments are ticks. While the log is heard, its *version* is the same and *stands_until* has not come, judging
    again would say the same: the key may be used. *answer* is the verify door's, good until
    *prepared_until*; the JWT is then in there, and not kept twice. Until *answer_until* it may be given without judging
    the request: never where the policy looks at requests. The last line in the audit log counts until
    *audited_until*. *uses* counts requests by path until somebody takes them. Its requests count on *meters*: none if
    it has no limits.
    """

    __slots__ = (
        "answer",
        "answer_until",
        "audited_until",
        "kept_until",
        "meters",
        "prepared_until",
        "stands_until",
        "uses",
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
        self.prepared_until = 0.0
        self.answer_until = 0.0
        self.uses: Mapping[str, int] = NOT_USED

    def used(self, path: str) -> None:
        """Count one request."""
        try:
            self.uses[path] += 1  # type: ignore[index]  # a dictionary, where anything is in it
        except KeyError:
            self._used_anew(path)

    def _used_anew(self, path: str) -> None:
        uses = dict(self.uses)
        path = path if len(uses) < _MOST_PATHS else OTHER_PATHS
        uses[path] = uses.get(path, 0) + 1
        self.uses = uses


def _position(incarnation: str, offset: int) -> Position:
    return Position(sys.intern(incarnation), offset)


def _told(owner: Owner) -> list[Mapping[str, tuple[str, ...]]]:
    return [] if owner.attributes is None else [owner.attributes]


def _jwt(text: str, scopes: list[str], until: float, maker: str) -> ReusableJwt:
    return ReusableJwt(text, tuple(scopes), float(until), sys.intern(maker))
