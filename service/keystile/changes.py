"""Changes as the change log says them, positions in it, and floors: the lowest generation that counts.

Redis is not trusted: whoever can write to it can at most delay a revocation by the freshness of a verdict.
So whatever is read from there carries a MAC, and can only take access away.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from keystile.signing_keys import SigningNote

if TYPE_CHECKING:
    from datetime import datetime

    from keystile.peppers import Peppers
    from keystile.records import KeyRecord

ALL_GENERATIONS = 2**53  # a kill of every generation there can be
EVERY_OWNER = "*"  # a change of the realm as a whole
EVERY_ROLE = "*roles"  # a change of roles or groups that names none of those who hold them
FLOOR_TTL = 400 * 86_400.0
_MAC_HEX = 64


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in one life of the log; positions of different incarnations cannot be compared.

    *local* counts what one process learnt there from somebody else than the log; it means nothing to others, and is
    never written down.
    """

    incarnation: str
    offset: int
    local: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One entry. Moments are epoch seconds.

    It names a key, an owner or both. *kills_below* kills JWTs and verdicts of that key whose generation is
    lower, from *kills_from* on; 0 kills nothing. *dead*: no generation will ever count again; *suspends*: none until
    the key is resumed. *floor_until* above 0 keeps *gen* as a floor until then: records below it were put back.
    *pending*: the directory was away, the record does not say so yet. *reason* is why a dead key was revoked, and of a
    suspension who did it, as `records.hidden_actor` says it. *jti* kills that one JWT of the key, of generation
    *jti_gen*, which is over at *jti_until* whatever happens; then *gen* and *kills_below* are 0, and a process that
    does not know the field yet reads the key's record again and no more.
    """

    key_id: str = ""
    owner_id: str = ""
    gen: int = 0
    kills_below: int = 0
    kills_from: float = 0.0
    dead: bool = False
    suspends: bool = False
    floor_until: float = 0.0
    pending: bool = False
    reason: str = ""
    at: float = 0.0
    jti: str = ""
    jti_gen: int = 0
    jti_until: float = 0.0

    @property
    def floor(self) -> Floor | None:
        """The floor this change leaves behind, if it does."""
        if not self.floor_until:
            return None
        return Floor(key_id=self.key_id, gen=self.gen, dead=self.dead, suspends=self.suspends, until=self.floor_until)

    def outdoes(self, other: Change) -> bool:
        """Tell whether, of two kills of one key, *other* says nothing that this one does not say."""
        if other.dead and not self.dead:
            return False
        if other.pending and other.suspends and not self.pending:
            return self.gen > 0 and self.at >= other.at  # it is written now: no longer is every generation meant
        return self.kills_below >= other.kills_below and self.kills_from <= other.kills_from


def changes_of(record: KeyRecord, owner_id: str, now: datetime) -> tuple[Change, ...]:
    """Return what to say of a live record that was just written: what it kills now, and what when a grace ends.

    It follows from the record alone, so saying it again after a failure is as good as saying it once.
    """
    graces = [secret for secret in record.earlier if now < secret.ends_at]
    moments = [now.timestamp(), *(secret.ends_at.timestamp() for secret in graces)]
    if record.expires_at is not None:
        moments.append(record.expires_at.timestamp() - FLOOR_TTL)
    kill = Change(
        key_id=record.key_id,
        owner_id=owner_id,
        gen=min(record.gen, *(secret.gen for secret in graces)) if graces else record.gen,
        kills_below=record.jwts_from,
        floor_until=max(moments) + FLOOR_TTL,
        at=now.timestamp(),
    )
    ends = (replace(kill, kills_below=secret.gen + 1, kills_from=secret.ends_at.timestamp()) for secret in graces)
    return (*ends, kill)


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The lowest generation of a key that counts; *dead*: none does; *suspends*: the key was suspended by it.

    *until* is in epoch seconds.
    """

    key_id: str
    gen: int
    dead: bool
    until: float
    suspends: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PollMark:
    """How far admin events were followed: completely from *followed_since* to *polled_at*, by Keycloak's clock."""

    polled_at: float
    followed_since: float = 0.0


Signed = TypeVar("Signed", Change, Floor, PollMark, SigningNote)


def sign(what: Change | Floor | PollMark | SigningNote, peppers: Peppers) -> str:
    """Return the text form: MAC under the current pepper, then JSON. The kind is under the MAC too."""
    body = json.dumps(asdict(what), separators=(",", ":"))
    return peppers.current.log.digest(_labelled(type(what), body)).hex() + body


def unsign(kind: type[Signed], text: str, peppers: Peppers) -> Signed | None:
    """Read what `sign` wrote, or return None: not signed under any pepper we know, or not of this kind.

    Retired peppers count here: a change can only take access away.
    """
    mac, body = text[:_MAC_HEX], text[_MAC_HEX:]
    message = _labelled(kind, body)
    if not any(secrets.compare_digest(p.log.digest(message).hex().encode(), mac.encode()) for p in peppers.all):
        return None
    fields = json.loads(body)
    known = {name: fields[name] for name in kind.__dataclass_fields__ if name in fields}
    return kind(**known)


def _labelled(kind: type[object], body: str) -> bytes:
    return f"{kind.__name__}:{body}".encode()
