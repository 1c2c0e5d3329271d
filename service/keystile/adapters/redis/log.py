"""The change log on a Redis stream, with the floors and the poll mark that go with it.

Redis is not trusted: an attacker who can write to it can at most take access away, or delay a revocation by the
freshness of a verdict: entries, floors and marks carry a MAC, and what fails it is dropped and counted.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from keystile.adapters.redis.floors import floor_name, floor_text
from keystile.adapters.redis.log_scripts import APPEND, MARK_POLLED, READ
from keystile.changes import Change, PollMark, Position, sign, unsign
from keystile.errors import CannotTellError
from keystile.ports import LogPage

if TYPE_CHECKING:
    from keystile.adapters.redis.link import RedisLink
    from keystile.peppers import Peppers

STREAM: Final = "keystile:log"
STATE: Final = "keystile:log:state"
_MARK_EVERY_MS = 200  # DESIGN 6
_SEQUENCE_BITS = 20  # of a stream id: a million entries in one millisecond


class RedisChangeLog:
    """The `ChangeLog` of a deployment; entries older than *retention* are dropped.

    *batch* entries at most are read in one round trip, and *batches* of them in one call of `read`.
    """

    def __init__(
        self,
        link: RedisLink,
        peppers: Peppers,
        *,
        retention: timedelta = timedelta(hours=2),
        batch: int = 1000,
        batches: int = 1000,
    ) -> None:
        self._peppers = peppers
        self._retention_ms = int(retention.total_seconds() * 1000)
        self._most = batch
        self._batches = batches
        self._append = link.script(APPEND)
        self._read = link.script(READ)
        self._mark_polled = link.script(MARK_POLLED)

    async def append(self, change: Change) -> Position:
        """Append *change* and raise the floor it leaves behind, both or neither."""
        keys: list[str] = [STREAM, STATE]
        args: list[bytes | str | int] = [_random_word(), sign(change, self._peppers), self._retention_ms]
        floor = change.floor
        if floor is not None:
            keys.append(floor_name(floor.key_id))
            args += [floor_text(floor, self._peppers), ceil(floor.until)]
        incarnation, last = await self._append(keys, *args)
        return Position(incarnation.decode(), _offset(last))

    async def mark_polled(self, mark: PollMark) -> None:
        """Keep *mark* unless a later one is kept already."""
        await self._mark_polled([STATE], f"{mark.polled_at:.6f}", sign(mark, self._peppers))

    async def read(self, after: Position | None) -> LogPage:
        """Return everything after that position, in as many round trips as it takes: one, as a rule."""
        position, whole, changes, dropped = after, True, list[Change](), 0
        for _ in range(self._batches):
            batch = await self._batch(position)
            whole = whole and (position is None or batch.continues)
            position = batch.position
            read = [unsign(Change, text, self._peppers) for text in batch.texts]
            changes += [change for change in read if change is not None]
            dropped += read.count(None)
            if len(read) < self._most:
                polled, forged = self._polled(batch.polled)
                return LogPage(position, tuple(changes), whole, polled, dropped + forged)
        raise CannotTellError("the change log grows faster than it can be read")

    async def _batch(self, after: Position | None) -> _Batch:
        incarnation, stream_id = (after.incarnation, _stream_id(after.offset)) if after else ("", "0-0")
        answer = await self._read([STREAM, STATE], _random_word(), incarnation, stream_id, self._most, _MARK_EVERY_MS)
        return _Batch.read(answer, full=self._most)

    def _polled(self, stored: bytes | None) -> tuple[PollMark | None, int]:
        if stored is None:
            return None, 0
        mark = unsign(PollMark, _text(stored).partition(":")[2], self._peppers)
        return mark, int(mark is None)


@dataclass(frozen=True, slots=True)
class _Batch:
    """What one run of the script told."""

    position: Position
    continues: bool
    polled: bytes | None
    texts: list[str]

    @classmethod
    def read(cls, answer: Any, full: int) -> _Batch:  # noqa: ANN401 - what Lua returned
        incarnation, last, whole, polled, entries = answer
        at = entries[-1][0] if len(entries) == full else last
        return cls(
            position=Position(incarnation.decode(), _offset(at)),
            continues=bool(whole),
            polled=polled,
            texts=[_change_text(fields) for _, fields in entries],
        )


def _change_text(fields: list[bytes] | None) -> str:
    """Return what stands in field `c`; a forged entry may have any fields, or be gone."""
    pairs = dict(zip(fields[::2], fields[1::2], strict=True)) if fields else {}
    return _text(pairs.get(b"c", b""))


def _text(stored: bytes) -> str:
    return stored.decode(errors="replace")


def _offset(stream_id: bytes) -> int:
    ms, _, sequence = stream_id.partition(b"-")
    return int(ms) << _SEQUENCE_BITS | int(sequence)


def _stream_id(offset: int) -> str:
    return f"{offset >> _SEQUENCE_BITS}-{offset & (1 << _SEQUENCE_BITS) - 1}"


def _random_word() -> str:
    return secrets.token_hex(8)
