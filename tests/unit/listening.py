"""A memory of the change log, a clock that stands still, and pages of the log to hear."""

from __future__ import annotations

from keystile.authority.memory import ChangeMemory
from keystile.changes import ALL_GENERATIONS, Change, PollMark, Position
from keystile.ports import LogPage
from keystile.records import RevocationReason
from keystile.verdicts import Verdict
from unit.builders import NOW, a_record, an_owner
from unit.watched import Time

KEY = a_record().key_id
NOW_SECONDS = NOW.timestamp()
DEATH = Change(key_id=KEY, kills_below=ALL_GENERATIONS, dead=True, at=NOW_SECONDS)


class Listener:
    """A memory, a clock that stands still, and pages of a log to hear."""

    def __init__(self) -> None:
        self.time = Time()
        self.memory = ChangeMemory(self.time.ticks)

    def hear(
        self, offset: int, *changes: Change, life: str = "a", whole: bool = True, polled: PollMark | None = None
    ) -> tuple[Change, ...]:
        """Hear a page that ends at *offset*; return the kills it does not know of."""
        page = LogPage(Position(life, offset), changes, whole, polled)
        return self.memory.heard_page(page, self.time.ticks(), self.time.now().timestamp())


def at(offset: int, life: str = "a") -> Position:
    return Position(life, offset)


def a_verdict(position: Position, *, gen: int = 1, dead: bool = False) -> Verdict:
    record = a_record(gen=gen)
    record = record.revoked(NOW, RevocationReason.UNSPECIFIED, 0) if dead else record
    return Verdict(record=record, owner=an_owner(), position=position, read_at=NOW_SECONDS)
