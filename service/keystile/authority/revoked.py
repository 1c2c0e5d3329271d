"""Single JWTs that were revoked before their end, as this process heard of them: bounded by their own short lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keystile.changes import Change

MOST_OF_A_KEY = 64
MOST = 100_000
CLOCKS_APART = 120.0  # seconds: another process may take a JWT for alive that long after its end by our clock


class RevokedJwts:
    """The revoked JWTs whose time is not over. Whoever revokes asks `has_room` first: nothing is dropped here early.

    So what others said is always kept: each of them held to the same bound, by a log that all of them hear.
    """

    def __init__(self) -> None:
        self._by_key: dict[str, dict[str, Change]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def has(self, key_id: str, jti: str) -> bool:
        """Tell whether that JWT of that key was revoked: nobody else's revocation reaches it."""
        return jti in self._by_key.get(key_id, ())

    def has_room(self, key_id: str) -> bool:
        """Tell whether one more JWT of that key may be revoked by itself."""
        return len(self._by_key.get(key_id, ())) < MOST_OF_A_KEY and self._count < MOST

    def add(self, change: Change) -> None:
        """Take in the revocation of one JWT."""
        of_key = self._by_key.setdefault(change.key_id, {})
        self._count += change.jti not in of_key
        of_key[change.jti] = change

    def outdone_by(self, kill: Change) -> None:
        """Drop what *kill* ends too, with all of its key: one key fills its room once for each generation.

        One that comes later, or is not written yet and may be undone, ends nothing for certain.
        """
        of_key = self._by_key.get(kill.key_id)
        if of_key is None or kill.pending or kill.kills_from:
            return
        left = {jti: each for jti, each in of_key.items() if each.jti_gen >= kill.kills_below}
        self._count -= len(of_key) - len(left)
        self._by_key[kill.key_id] = left

    def unsaid(self, changes: Iterable[Change], now: float) -> tuple[Change, ...]:
        """Return what is not among *changes* and still matters at *now* (epoch seconds)."""
        said = {(change.key_id, change.jti) for change in changes if change.jti}
        kept = (change for of_key in self._by_key.values() for change in of_key.values())
        return tuple(each for each in kept if each.jti_until > now and (each.key_id, each.jti) not in said)

    def forget(self, now: float) -> None:
        """Drop what has ended by itself by *now* (epoch seconds)."""
        left = {
            key_id: {jti: change for jti, change in of_key.items() if change.jti_until > now}
            for key_id, of_key in self._by_key.items()
        }
        self._by_key = {key_id: of_key for key_id, of_key in left.items() if of_key}
        self._count = sum(map(len, self._by_key.values()))
