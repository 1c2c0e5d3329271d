"""The lives of owners, keys and JWTs: when each was certainly live, when certainly dead, and the doubt between.

Every moment is `time.monotonic()`, which all processes of a machine share.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from math import inf

_SECOND = 1.0  # `iat`, `exp` and `notBefore` count whole seconds


@dataclass(slots=True, eq=False)
class Ending:
    """One end of a life: it may count from *asked* and must count from *answered* plus *bound*.

    Nobody answered (the process that was asked died): *answered* stays infinite and so does the doubt. A resumed
    life may be live from *resume_asked* and must be from *live_again*. An ending *of_jwts* leaves keys alone.
    """

    bound: float
    asked: float
    answered: float = inf
    resume_asked: float = inf
    live_again: float = inf
    of_jwts: bool = False

    @property
    def certain(self) -> float:
        """When the last acceptance may have been asked for."""
        return self.answered + self.bound


@dataclass(slots=True, eq=False)
class Owner:
    """Whom keys act for. *subject*, the `sub` of its JWTs, is compared where it is known."""

    username: str
    subject: str = ""
    endings: list[Ending] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Key:
    """One secret: after a rotation the old and the new one are two, with the same *key_id*."""

    key_id: str
    owner: Owner
    endings: list[Ending] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Jwt:
    """A JWT handed out for *key*, *asked* for and *received* then; it expires at *expires_at*."""

    key: Key
    asked: float
    received: float
    expires_at: float = inf


class Stranger(Enum):
    """What was never issued. *FORGED*: malformed or without our stamp. *UNKNOWN*: well stamped, in no record."""

    FORGED = "forged"
    UNKNOWN = "unknown"


Credential = Key | Jwt | Stranger


def key_of(credential: Credential) -> Key | None:
    """Return the key that stands behind *credential*."""
    return credential.key if isinstance(credential, Jwt) else credential if isinstance(credential, Key) else None


def endings_of(credential: Credential) -> list[Ending]:
    """Return what may have ended *credential*."""
    key = key_of(credential)
    if key is None:
        return []
    both = key.endings + key.owner.endings if key.owner.endings else key.endings
    if isinstance(credential, Jwt):
        return [ending for ending in both if not _spares(ending, credential)]
    return [ending for ending in both if not ending.of_jwts]


def must_accept(credential: Credential, sent: float, received: float) -> bool:
    """Tell whether *credential* was live all the time from *sent* to *received*."""
    match credential:
        case Stranger():
            return False
        case Key():
            return all(received < end.asked or sent > end.live_again for end in endings_of(credential))
        case Jwt(asked=born):  # one older than a resumption may stay dead
            unexpired = received < credential.expires_at - _SECOND
            return unexpired and all(received < end.asked or born > end.live_again for end in endings_of(credential))


def dead_since(credential: Credential, sent: float, received: float) -> float | None:
    """Return since when *credential* had to be refused if that was before the request was *sent*, else None."""
    since = [end.certain for end in endings_of(credential) if _counts(end, credential, received)]
    if isinstance(credential, Jwt):
        since.append(credential.expires_at + _SECOND)
    return min((moment for moment in since if moment < sent), default=None)


def is_open(credential: Credential) -> bool:
    """Tell whether an end was asked for and not answered yet."""
    return any(ending.answered == inf for ending in endings_of(credential))


def _spares(ending: Ending, jwt: Jwt) -> bool:
    return ending.of_jwts and jwt.asked > ending.certain + _SECOND


def _counts(ending: Ending, credential: Credential, received: float) -> bool:
    if received >= ending.resume_asked:
        return False
    return not ending.of_jwts or (isinstance(credential, Jwt) and credential.received < ending.asked)
