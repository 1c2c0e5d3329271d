"""Floors as they stand in Redis: plain numbers that Lua can compare, then the signed floor."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from keystile.changes import Floor, sign, unsign

if TYPE_CHECKING:
    from keystile.peppers import Peppers


def floor_name(key_id: str) -> str:
    """Return the name under which the floor of that key is kept."""
    return f"keystile:floor:{key_id}"


def floor_rank(floor: Floor) -> str:
    """Return `{dead}:{gen}:{until}:`. The floor of the higher rank, number by number, is the one to keep.

    Looks wrong: nothing signs these numbers, so whoever writes to Redis can make them so high that a true floor is
    never stored. He could as well delete the true one; a verdict resting on either lasts no longer than its
    freshness. Depends on: nobody obeys the numbers, only what is signed behind them.
    """
    return f"{int(floor.dead)}:{floor.gen}:{ceil(floor.until)}:"


def floor_text(floor: Floor, peppers: Peppers) -> str:
    """Return the value to store."""
    return floor_rank(floor) + sign(floor, peppers)


def read_floor(stored: bytes, key_id: str, peppers: Peppers) -> Floor | None:
    """Read a stored value, or return None: not signed, the floor of another key, or ranked as another."""
    rank_and_text = stored.decode(errors="replace").split(":", 3)
    floor = unsign(Floor, rank_and_text[-1], peppers)
    if floor is None or floor.key_id != key_id or not stored.startswith(floor_rank(floor).encode()):
        return None
    return floor
