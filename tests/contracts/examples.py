"""Keys, verdicts and changes to try the ports with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from keystile.changes import Change, Floor, Position
from keystile.keys import ApiKey, KeyFormat
from keystile.peppers import Pepper, Peppers
from keystile.records import KeyRecord, Owner
from keystile.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

PEPPERS = Peppers((Pepper("p2", b"current".ljust(32, b".")), Pepper("p1", b"accepted".ljust(32, b"."))))
OTHER_PEPPERS = Peppers((Pepper("p2", b"somebody else's".ljust(32, b".")),))
_KEYS = KeyFormat(PEPPERS, older=True)
LATER = datetime(2100, 1, 1, tzinfo=UTC).timestamp()


def a_key() -> ApiKey:
    return _KEYS.generate("live")


def an_older_key(letter: str = "x") -> ApiKey:
    return _KEYS.parse("mcpkey_live_" + letter * 43)


def a_verdict(key: ApiKey, *, owner_id: str = "owner-1", gen: int = 1, offset: int = 7) -> Verdict:
    """Return a verdict on *key* with only what a cache keeps."""
    record = KeyRecord(
        key_id=key.key_id or "older-1",
        gen=gen,
        environment="live",
        name="laptop of Zoë",
        bcrypt="$2b$12$" + "b" * 53,
        digest="d" * 43,
        digest_pepper="p2",
        stamp_pepper="p2",
        issued_at=datetime(2025, 1, 1, tzinfo=UTC),
    )
    return Verdict(
        record=record,
        owner=Owner(id=owner_id, username="zoë"),
        position=Position("incarnation", offset),
        read_at=1_700_000_000.25,
    )


def a_kill(key_id: str, *, gen: int = 2, dead: bool = False, until: float = LATER) -> Change:
    """Return a change that leaves a floor behind."""
    return Change(key_id=key_id, gen=gen, kills_below=gen, dead=dead, floor_until=until)


def highest(floors: Iterable[Floor]) -> Floor:
    """Return the floor that must be left of these: a dead one, then the one of the highest generation."""
    return max(floors, key=lambda floor: (floor.dead, floor.gen, floor.until))
