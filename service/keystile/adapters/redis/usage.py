"""The use of keys in Redis: counts by key id and day in plain numbers; addresses, user agents and endpoints sealed.

Redis is not trusted: an attacker who can read it learns how much each key id is used, one who can write to it can
make these numbers anything. He can make a key that may idle for N days last longer by deleting what is kept of it,
which is what a lost Redis does too, or end it by putting an older use back; he can forge none.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from keystile.adapters.redis.seals import Name, Seal
from keystile.adapters.redis.usage_scripts import ADD, LAST, READ
from keystile.errors import CannotTellError
from keystile.usage import ENDPOINT, KEPT_DAYS, NUMBERS, OTHERS, REFUSED, DayCounts, LastUse, LastUses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date

    from keystile.adapters.redis.link import RedisLink
    from keystile.peppers import Peppers
    from keystile.ports import UsageBatch

_BATCH_TTL = 86_400  # seconds for which a batch of unknown outcome may be sent again
_TTL = KEPT_DAYS * 86_400
_SINCE = "keystile:usage:since"


class RedisUsageStore:
    """The `UsageStore` of a deployment. *wall* tells epoch seconds."""

    def __init__(self, link: RedisLink, peppers: Peppers, *, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._uses = Seal(peppers, "usage")
        self._endpoints = Name(peppers, "usage-endpoint")
        self._add = link.script(ADD)
        self._read = link.script(READ)
        self._last = link.script(LAST)

    async def add(self, batch: UsageBatch) -> None:
        """Add the counts and keep the uses, in one round trip."""
        rows = [self._row(counts) for counts in batch.counts]
        uses = [self._use(use) for use in batch.uses]
        keys = [f"keystile:usage:batch:{batch.id}", _SINCE]
        await self._add(keys, _BATCH_TTL, _TTL, self._seal_since(), json.dumps(rows), json.dumps(uses))

    async def days(self, key_id: str, days: Sequence[date]) -> tuple[DayCounts, ...]:
        """Return what is counted of that key, in one round trip."""
        if not days:
            return ()
        names = [_day_name(key_id, day) for day in days]
        found = await self._read([*names, *(f"{name}:endpoints" for name in names)])
        if not isinstance(found, list) or len(found) != 2 * len(days):
            raise CannotTellError("Redis answered otherwise than it was asked")
        numbers, endpoints = found[: len(days)], found[len(days) :]
        rows = (
            DayCounts(key_id, day, {**dict(_numbers(some)), **self._opened(key_id, others)})
            for day, some, others in zip(days, numbers, endpoints, strict=True)
        )
        return tuple(row for row in rows if row.counts)

    async def last_uses(self, key_id: str) -> LastUses:
        """Return who used that key last, in one round trip."""
        answer = await self._last([_last_name(key_id), _SINCE])
        current, earlier, since = answer if isinstance(answer, list) and len(answer) == 3 else (None, None, None)  # noqa: PLR2004 - as asked
        kept = LastUses(self._open(key_id, "current", current), self._open(key_id, "earlier", earlier))
        return LastUses(kept.current, kept.earlier, self._open_since(since))

    def _row(self, row: DayCounts) -> tuple[str, dict[str, int], dict[str, int]]:
        numbers = {name: count for name, count in row.counts.items() if name in NUMBERS or name.startswith(REFUSED)}
        endpoints = {
            self._endpoints.seal(name.removeprefix(ENDPOINT), row.key_id): count
            for name, count in row.counts.items()
            if name.startswith(ENDPOINT)
        }
        others = row.counts.get(OTHERS)
        return _day_name(row.key_id, row.day), numbers, {**endpoints, **({"others": others} if others else {})}

    def _use(self, use: LastUse) -> tuple[str, str, int, str]:
        field = "earlier" if use.is_earlier else "current"
        sealed = self._uses.seal(use.to_text(), f"{use.key_id}:{field}").hex()
        return _last_name(use.key_id), field, int(use.at), sealed

    def _opened(self, key_id: str, stored: object) -> dict[str, int]:
        counts: dict[str, int] = {}
        for sealed, count in _pairs(stored):
            name = OTHERS if sealed == b"others" else self._endpoints.open(sealed, key_id)
            if name is not None and count:
                name = name if name == OTHERS else ENDPOINT + name
                counts[name] = counts.get(name, 0) + count  # one name under two peppers
        return counts

    def _open(self, key_id: str, field: str, stored: object) -> LastUse | None:
        try:
            sealed = bytes.fromhex(stored.partition(b":")[2].decode()) if isinstance(stored, bytes) else b""
            text = self._uses.open(sealed, f"{key_id}:{field}")
            return None if text is None else LastUse.from_text(text)
        except (ValueError, TypeError):
            return None

    def _seal_since(self) -> bytes:
        return self._uses.seal(repr(self._wall()), "since")

    def _open_since(self, stored: object) -> float:
        """Return since when uses are kept; what was tampered with says: since now."""
        text = self._uses.open(stored, "since") if isinstance(stored, bytes) else None
        return self._wall() if text is None else float(text)


def _day_name(key_id: str, day: date) -> str:
    return f"keystile:usage:{key_id}:{day.isoformat()}"


def _last_name(key_id: str) -> str:
    return f"keystile:usage:{key_id}:last"


def _numbers(stored: object) -> Iterator[tuple[str, int]]:
    for field, count in _pairs(stored):
        name = field.decode(errors="replace")
        if count and (name in NUMBERS or name.startswith(REFUSED)):
            yield name, count


def _pairs(stored: Any) -> Iterator[tuple[bytes, int]]:  # noqa: ANN401 - what Redis sent
    if not isinstance(stored, list) or not all(isinstance(word, bytes) for word in stored):
        return
    for field, text in zip(stored[::2], stored[1::2], strict=False):
        yield field, int(text) if text.isdigit() and len(text) <= 16 else 0  # noqa: PLR2004 - the digits of 2**53
