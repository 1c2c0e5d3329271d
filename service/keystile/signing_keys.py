"""The life of a signing key: which one signs, which wait, which may go; decided from what every process says it shows.

A JWT must never be signed by a key that some verifier cannot know: one that fetched our public keys a moment before
the new one was among them keeps them for as long as `Cache-Control` lets it. So a key signs only when every process has
shown it for that long. Lengths of time are told by each process's own ticks: no two clocks are compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

MOST_PUBLISHED = 10
LIVE = 15.0  # seconds after its last note in which a process may still run, and show keys
LEEWAY = 60.0  # seconds by which a verifier's clock may be late
NOTES_KEPT = 25 * 3600.0  # seconds: longer than any JWT lives, and than our public keys may be kept
NOTES_MOST = 512


class KeyState(StrEnum):
    """Where in its life a signing key is."""

    NEXT = "next"
    CURRENT = "current"
    PREVIOUS = "previous"


@dataclass(frozen=True, slots=True)
class PublishedKey:
    """A signing key as everybody may know it; *name* is that of its file.

    *not_before*: before then it does not sign (epoch seconds); None: it may at once. One that *may_sign* never is only
    shown, and checked against.
    """

    kid: str
    algorithm: str
    name: str
    not_before: float | None = None
    may_sign: bool = field(default=True, kw_only=True)

    @property
    def age_rank(self) -> tuple[float, str]:
        """Older keys rank lower."""
        return (float("-inf") if self.not_before is None else self.not_before, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningNote:
    """What one process says of itself: which key it signs with and which it shows, each for how many seconds by now."""

    process: str
    signs: str
    signs_for: float
    loaded: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Noted:
    """A note, and how many seconds ago it was written, by the clock of the store that keeps it."""

    note: SigningNote
    age: float

    @property
    def is_live(self) -> bool:
        """Whether the process may still run."""
        return self.age < LIVE

    def has_shown(self, kid: str, seconds: float) -> bool:
        """Tell whether what that process showed without the key, if anything, is at least *seconds* old.

        A process that is silent counts until what it last could have shown is that old.
        """
        shown_for = self.note.loaded.get(kid)
        return self.age >= LIVE + seconds or (shown_for is not None and shown_for + self.age >= seconds)


def kept(ages: Iterable[tuple[float, str]]) -> frozenset[str]:
    """Return the processes whose notes are kept, by age in seconds and name; the newest always is.

    So a deployment that was stopped for long still knows what it signed with.
    """
    newest = sorted(ages)[:NOTES_MOST]
    return frozenset(name for place, (age, name) in enumerate(newest) if place == 0 or age <= NOTES_KEPT)


def is_ready(key: PublishedKey, noted: Collection[Noted], now: float, max_age: float, *, certain: bool) -> bool:
    """Tell whether *key* may sign: at once, or as somebody does already, or as all have shown it for *max_age* seconds.

    *now* is in epoch seconds. *certain*: every live process had the time to say what it shows.
    """
    if not key.may_sign or key.not_before is None:
        return key.may_sign
    if any(each.note.signs == key.kid for each in noted):
        return True
    return certain and key.not_before <= now and all(each.has_shown(key.kid, max_age) for each in noted)


def choose(keys: Iterable[PublishedKey], algorithm: str, ready: Collection[str]) -> PublishedKey:
    """Return the key to sign with: the newest that is ready and of that algorithm, else of another.

    Where none is ready the oldest signs: it is what verifiers know if they know any. One of *keys* may sign.
    """
    able = sorted((key for key in keys if key.may_sign), key=lambda key: key.age_rank)
    usable = [key for key in able if key.kid in ready] or able[:1]
    return ([key for key in usable if key.algorithm == algorithm] or usable)[-1]


def state_of(key: PublishedKey, keys: Iterable[PublishedKey], algorithm: str, ready: Collection[str]) -> KeyState:
    """Return where in its life *key* is; next is what would sign if it were ready."""
    keys = tuple(keys)
    if choose(keys, algorithm, ready).kid == key.kid:
        return KeyState.CURRENT
    waits = key.may_sign and key.kid not in ready and choose(keys, algorithm, {*ready, key.kid}).kid == key.kid
    return KeyState.NEXT if waits else KeyState.PREVIOUS


def published(keys: Iterable[PublishedKey], signs: str) -> tuple[PublishedKey, ...]:
    """Return the keys to show, the signing one first, then the newest: no more than a verifier has to take."""
    newest = sorted(keys, key=lambda key: key.age_rank, reverse=True)
    return tuple(sorted(newest, key=lambda key: key.kid != signs)[:MOST_PUBLISHED])


def seconds_needed(
    key: PublishedKey, current: PublishedKey, noted: Iterable[Noted], now: float, token_ttl: float
) -> float:
    """Return for how many more seconds a JWT signed by the previous *key* may live; 0: its file may go.

    A process that died counts for what it signed last. While somebody signs with the key, that is a whole life more.
    """
    hold = token_ttl + LEEWAY
    since = [now - current.not_before] if current.not_before is not None else []
    for each in noted:
        if each.note.signs == key.kid:
            since.append(0.0 if each.is_live else each.age - LIVE)
        elif each.age < hold:
            since.append(each.note.signs_for + each.age)
    return max(0.0, hold - min(since, default=hold))
