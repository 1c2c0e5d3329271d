"""The use of keys: what is counted per key and day, who used one last, and what a reader is told of both."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from keystile.keys import without_credentials
from keystile.records import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MOST = 2**53  # the largest count: JSON's and Lua's numbers hold it, and no sum goes beyond
KEPT_DAYS = 400
TOP_ENDPOINTS = 10
MAX_ENDPOINT = 200
MAX_USER_AGENT = 200
NUMBERS = ("requests", "errors", "bytes", "tokens", "cost_cents", "limit_hits")
REFUSED, ENDPOINT, OTHERS = "refused:", "endpoint:", "other_endpoints"
_REASON = re.compile(r"[a-z_]{1,40}")
_PLACES = 2


@dataclass(frozen=True, slots=True)
class DayCounts:
    """What one key was used for on one day (UTC). *counts*: by `NUMBERS`, `refused:{reason}`, `endpoint:{path}`."""

    key_id: str
    day: date
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LastUse:
    """The latest use of a key's secret at *at* (epoch seconds), by whom.

    *secret_ends_at* is None for its current secret; of an earlier one it is the `ends_at`, by which it is known.
    """

    key_id: str
    at: float
    address: str = ""
    user_agent: str = ""
    secret_ends_at: float | None = None

    @property
    def is_earlier(self) -> bool:
        """Tell whether this was a secret that a rotation had replaced."""
        return self.secret_ends_at is not None

    def to_text(self) -> str:
        """Return the form that a store keeps."""
        return json.dumps([self.key_id, self.at, self.address, self.user_agent, self.secret_ends_at])

    @classmethod
    def from_text(cls, text: bytes | str) -> LastUse:
        """Read what `to_text` wrote; raises ValueError or TypeError on anything else."""
        key_id, at, address, user_agent, ends_at = json.loads(text)
        return cls(
            key_id=str(key_id),
            at=float(at),
            address=str(address),
            user_agent=str(user_agent),
            secret_ends_at=None if ends_at is None else float(ends_at),
        )

    def to_document(self) -> dict[str, Any]:
        """Return what a reader is told."""
        document = {"at": _moment(self.at), "ip": self.address or None, "user_agent": self.user_agent or None}
        return document if self.secret_ends_at is None else {**document, "secret_ends_at": _moment(self.secret_ends_at)}


@dataclass(frozen=True, slots=True)
class LastUses:
    """The last use of a key's current secret, and of an earlier one. *since*: for how long uses have been kept."""

    current: LastUse | None = None
    earlier: LastUse | None = None
    since: float = 0.0

    @property
    def latest_at(self) -> float | None:
        """When the key was used last, by either secret."""
        return max((use.at for use in (self.current, self.earlier) if use is not None), default=None)


@dataclass(frozen=True, slots=True)
class Totals:
    """The numbers of one day or of several. *requests* are those allowed; *errors* and *bytes* are as reported."""

    requests: int = 0
    errors: int = 0
    bytes: int = 0
    tokens: int = 0
    cost_cents: int = 0
    limit_hits: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    endpoints: Mapping[str, int] = field(default_factory=dict)
    other_endpoints: int = 0

    @classmethod
    def of(cls, several: Iterable[Mapping[str, int]]) -> Totals:
        """Return the sums of what a store keeps; what is no count of ours is passed over."""
        sums: dict[str, int] = {}
        for counts in several:
            for name, count in counts.items():
                if type(count) is int and 0 < count <= MOST:
                    sums[name] = min(MOST, sums.get(name, 0) + count)
        refused = {name.removeprefix(REFUSED): count for name, count in sums.items() if _is_refusal(name)}
        endpoints = [(name.removeprefix(ENDPOINT), n) for name, n in sums.items() if name.startswith(ENDPOINT)]
        endpoints.sort(key=lambda each: (-each[1], each[0]))
        return cls(
            **{name: sums.get(name, 0) for name in NUMBERS},
            refused=dict(sorted(refused.items())),
            endpoints=dict(endpoints[:TOP_ENDPOINTS]),
            other_endpoints=min(MOST, sums.get(OTHERS, 0) + sum(count for _, count in endpoints[TOP_ENDPOINTS:])),
        )

    def averages(self, days: int) -> dict[str, float]:
        """Return what this is per day."""
        return {name: round(getattr(self, name) / max(1, days), _PLACES) for name in NUMBERS}

    def to_document(self) -> dict[str, Any]:
        """Return what a reader is told."""
        return {
            **{name: getattr(self, name) for name in NUMBERS},
            "refused": dict(self.refused),
            "endpoints": [{"endpoint": name, "requests": count} for name, count in self.endpoints.items()],
            "other_endpoints": self.other_endpoints,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUsage:
    """The use of one key over some days, oldest first, each day there."""

    key_id: str
    days: tuple[tuple[date, Totals], ...]
    totals: Totals
    last_uses: LastUses

    @classmethod
    def of(cls, key_id: str, days: Iterable[date], rows: Iterable[DayCounts], last_uses: LastUses) -> KeyUsage:
        """Return the use of a key from what a store keeps of these *days*."""
        by_day = {row.day: row.counts for row in rows}
        wanted = tuple(days)
        return cls(
            key_id=key_id,
            days=tuple((day, Totals.of([by_day.get(day, {})])) for day in wanted),
            totals=Totals.of(by_day.get(day, {}) for day in wanted),
            last_uses=last_uses,
        )

    def to_document(self) -> dict[str, Any]:
        """Return what a reader is told."""
        current, earlier = self.last_uses.current, self.last_uses.earlier
        latest = max((use for use in (current, earlier) if use is not None), key=lambda use: use.at, default=None)
        return {
            "key_id": self.key_id,
            "last_used_at": latest and _moment(latest.at),
            "last_used_ip": (latest and latest.address) or None,
            "last_used_user_agent": (latest and latest.user_agent) or None,
            "last_use": current and current.to_document(),
            "earlier_secret_last_use": earlier and earlier.to_document(),
            "totals": self.totals.to_document(),
            "averages_per_day": self.totals.averages(len(self.days)),
            "days": [{"date": day.isoformat(), **totals.to_document()} for day, totals in self.days],
        }


def last_days(today: date, count: int) -> tuple[date, ...]:
    """Return the last *count* days (1 to 400), *today* the last of them."""
    return tuple(today - timedelta(days=ago) for ago in reversed(range(min(max(1, count), KEPT_DAYS))))


def tellable(text: str, most: int) -> str:
    """Return what a client sent as it may be kept: what prints of it, cut to *most*, no credential that slipped in."""
    if text.isprintable():  # as most is: asked for on every use of a key that is not kept
        return without_credentials(text[: 4 * most])[:most]
    prints = "".join(letter for letter in text[: 4 * most] if letter.isprintable())
    return without_credentials(prints)[:most]


def _is_refusal(name: str) -> bool:
    return name.startswith(REFUSED) and _REASON.fullmatch(name.removeprefix(REFUSED)) is not None


def _moment(seconds: float) -> str:
    return format_moment(datetime.fromtimestamp(seconds, UTC))
