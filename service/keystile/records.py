"""Key records and their owners: what a store keeps per key, and its text form.

The text form is compact JSON, one self-contained value per key, because Keycloak keeps no order between the
values of an attribute. Fields this version does not know survive its rewrite; restrictions it does not know,
or another version, make the record unreadable, and an unreadable record proves nothing.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from keystile.errors import RecordTooLargeError
from keystile.public_keys import PublicKey
from keystile.restrictions import UNRESTRICTED, Policy, shared

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keystile.keys import Environment

VERSION = 1
MAX_TEXT = 4096  # declared length of the attribute
REVOKE_RESERVE = 256  # kept free so that a stop always fits, and a resumption: see `KeyRecord.check_room`
MAX_TOMBSTONES = 10
_REQUESTS_KEPT = 8
_REQUESTS_FOR = 86_400.0  # seconds
_MOMENT_DIGITS = 12
_MAX_ACTOR = 90  # characters of JSON: a suspension, too, fits into the reserve
_EARLIER_KEPT = 3  # one that may still be good, and two that ended
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_UNTOLD = datetime.fromtimestamp(0, UTC)


class Status(StrEnum):
    """Where a key is in its life; expiry follows from the clock, and is a status only where nothing else is left."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    EXPIRED = "expired"


class RevocationReason(StrEnum):
    """Why a key was revoked (the subset of RFC 5280, 5.3.1 that fits keys)."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "key_compromise"
    SUPERSEDED = "superseded"
    CESSATION = "cessation_of_operation"
    PRIVILEGE_WITHDRAWN = "privilege_withdrawn"


class UnreadableRecordError(ValueError):
    """A stored value is not a key record this version can read; *key_id* where that much was legible."""

    def __init__(self, message: str, key_id: str | None = None) -> None:
        super().__init__(message)
        self.key_id = key_id


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierSecret:
    """A secret that a rotation replaced: good until *ends_at*, after which only its digest is kept, to know it by.

    *gen* is the generation of the JWTs it gives.
    """

    gen: int
    ends_at: datetime
    digest: str = ""
    digest_pepper: str = ""
    stamp_pepper: str = ""
    bcrypt: str = ""

    def to_document(self) -> dict[str, Any]:
        """Return what is stored."""
        document = {
            "gen": self.gen,
            "ends_at": format_moment(self.ends_at),
            "digest": self.digest,
            "digest_pepper": self.digest_pepper,
            "stamp_pepper": self.stamp_pepper,
            "bcrypt": self.bcrypt,
        }
        return {name: value for name, value in document.items() if value != ""}

    def ended(self, now: datetime) -> EarlierSecret:
        """Return what is kept of it once it has ended."""
        return replace(self, ends_at=min(self.ends_at, now), stamp_pepper="", bcrypt="")

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> EarlierSecret:
        """Read what is stored; raises ValueError, KeyError or TypeError."""
        fields = dict(document)
        return cls(
            gen=_take(fields, "gen", int),
            ends_at=parse_moment(_take(fields, "ends_at", str)),
            digest=_take(fields, "digest", str, ""),
            digest_pepper=_take(fields, "digest_pepper", str, ""),
            stamp_pepper=_take(fields, "stamp_pepper", str, ""),
            bcrypt=_take(fields, "bcrypt", str, ""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSecret:
    """What a record keeps of a secret."""

    bcrypt: str
    digest: str
    digest_pepper: str
    stamp_pepper: str


@dataclass(frozen=True, slots=True)
class RequestTag:
    """A request as it is known by when it is sent again: *name* by whoever sent it, *body* by what it asked."""

    name: str
    body: str

    def at(self, now: datetime) -> str:
        """Return what a record keeps."""
        return f"{self.name}:{self.body}:{int(now.timestamp())}"

    def seen_in(self, record: KeyRecord, now: datetime) -> str | None:
        """Return the body that was sent under this name within a day, None if none was."""
        for kept in record.requests:
            name, _, rest = kept.partition(":")
            if name == self.name and self.is_recent(kept, now):
                return rest.partition(":")[0]
        return None

    @staticmethod
    def is_recent(kept: str, now: datetime) -> bool:
        """Tell whether what a record keeps is of the last 24 hours."""
        moment = kept.rpartition(":")[2]
        return moment.isdigit() and len(moment) < _MOMENT_DIGITS and now.timestamp() - int(moment) < _REQUESTS_FOR


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """One key as a store keeps it. *gen* rises with every change of status, secret or policy.

    *bcrypt* is empty on a tombstone, *digest* where none was made yet. JWTs of a generation below *jwts_from* are dead.
    *earlier* are the secrets before this one, latest first: at most one that is still good, and the digests of the
    last two that ended. *public_key* stands in the place of all of these: it is proved by signatures alone.
    *older_hash* is the `cacheHash` of the older form and None for records of the current form.
    *requests* are the tags of the requests that made this key or its secret lately: one sent twice is done once.
    *rotated_by* and *suspended_by* are the actors who did that, as `kept_actor` keeps them; "" where nobody did.
    *extra* holds fields of later versions.
    """

    key_id: str
    gen: int
    environment: Environment
    name: str
    status: Status = Status.ACTIVE
    bcrypt: str = ""
    digest: str = ""
    digest_pepper: str = ""
    stamp_pepper: str = ""
    public_key: PublicKey | None = None
    issued_by: str = ""
    rotated_by: str = ""
    issued_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_reason: RevocationReason | None = None
    suspended_by: str = ""
    jwts_from: int = 0
    earlier: tuple[EarlierSecret, ...] = ()
    requests: tuple[str, ...] = ()
    policy: Policy = field(default=UNRESTRICTED)
    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    older_hash: str | None = None

    @property
    def is_older(self) -> bool:
        """Tell whether this is a key of the older format, without an id or a stamp in it."""
        return self.older_hash is not None

    @property
    def lookups(self) -> frozenset[str]:
        """The look-up values its owner has for this record; none for one of the older format."""
        if self.is_older:
            return frozenset()
        return frozenset({self.key_id} if self.public_key is None else {self.key_id, self.public_key.lookup})

    def is_live(self, now: datetime) -> bool:
        """Tell whether the key is active or suspended, and not expired."""
        return not self.is_dead and not self.is_expired(now)

    @property
    def is_dead(self) -> bool:
        """Tell whether this is a tombstone: of a revoked key, or of one that expired long ago."""
        return self.status in (Status.REVOKED, Status.EXPIRED)

    def is_expired(self, now: datetime) -> bool:
        """Tell whether the key's time is over."""
        return self.expires_at is not None and now >= self.expires_at

    def revoked(self, now: datetime, reason: RevocationReason, gen: int) -> KeyRecord:
        """Return this key's tombstone: it proves who presents it, and grants nothing any more."""
        dead = replace(self._buried(Status.REVOKED), revoked_at=now, revoked_reason=reason, older_hash=None)
        return replace(dead, gen=max(gen, dead.gen))

    def expired(self) -> KeyRecord:
        """Return the tombstone of this key, whose time is over: it knows the key again, and no clock brings it back."""
        return self._buried(Status.EXPIRED)

    def _buried(self, status: Status) -> KeyRecord:
        return replace(
            self,
            gen=self.gen + 1,
            status=status,
            bcrypt="",
            suspended_by="",
            earlier=(),
            policy=Policy(),
            extra=_NOTHING,
        )

    def suspended(self, gen: int, by: str = "") -> KeyRecord:
        """Return this key suspended by that actor: it and its JWTs are refused until it is resumed."""
        gen = max(gen, self.gen + 1)
        suspended = replace(self._raised(gen), gen=gen, jwts_from=gen, status=Status.SUSPENDED)
        return replace(suspended, suspended_by=kept_actor(by))

    def resumed(self) -> KeyRecord:
        """Return this key active again; JWTs from before stay dead."""
        return replace(self._raised(self.gen + 1), gen=self.gen + 2, status=Status.ACTIVE, suspended_by="")

    def renamed(self, name: str) -> KeyRecord:
        """Return this key under another name."""
        return replace(self, name=name)

    def with_policy(self, policy: Policy, expires_at: datetime | None) -> KeyRecord:
        """Return this key under another policy; if that allows less, JWTs from before are dead."""
        shortened = expires_at is not None and (self.expires_at is None or expires_at < self.expires_at)
        if not shortened and not policy.narrows(self.policy):
            return replace(self, gen=self.gen + 1, policy=policy, expires_at=expires_at)
        raised = replace(self._raised(self.gen + 1), gen=self.gen + 2, jwts_from=self.gen + 1)
        return replace(raised, policy=policy, expires_at=expires_at)

    def rotated(self, secret: NewSecret, ends_at: datetime, now: datetime, by: str = "") -> KeyRecord:
        """Return this key with a new secret, got by *by*; the one it had is good until *ends_at*, any before ended."""
        replaced = EarlierSecret(
            gen=self.gen + 1,
            ends_at=self.within_life(ends_at),
            digest=self.digest,
            digest_pepper=self.digest_pepper,
            stamp_pepper=self.stamp_pepper,
            bcrypt=self.bcrypt,
        )
        earlier = tuple(each.ended(now) for each in self.earlier)
        return replace(
            self,
            gen=self.gen + 2,
            bcrypt=secret.bcrypt,
            digest=secret.digest,
            digest_pepper=secret.digest_pepper,
            stamp_pepper=secret.stamp_pepper,
            rotated_by=kept_actor(by),
            earlier=(replaced, *earlier)[:_EARLIER_KEPT],
        )

    def without_jwts(self) -> KeyRecord:
        """Return this key with every JWT it gave so far dead; its secrets are as good as before."""
        return replace(self._raised(self.gen + 1), gen=self.gen + 2, jwts_from=self.gen + 1)

    def without_earlier(self, now: datetime) -> KeyRecord:
        """Return this key with every earlier secret ended; the JWTs they gave are dead."""
        ended = tuple(each.ended(now) for each in self.earlier)
        return replace(self, gen=self.gen + 1, jwts_from=self.gen, earlier=ended)

    def with_request(self, tag: RequestTag | None, now: datetime) -> KeyRecord:
        """Return this record, which *tag*'s request just made or changed; older tags than a day are dropped."""
        if tag is None:
            return self
        recent = tuple(each for each in self.requests if RequestTag.is_recent(each, now))
        return replace(self, requests=(*recent, tag.at(now))[-_REQUESTS_KEPT:])

    def kills_jwt(self, gen: int, now: datetime) -> bool:
        """Tell whether JWTs of that generation are dead: killed by a change, or given by a secret that has ended."""
        return gen < self.jwts_from or any(gen <= each.gen and now >= each.ends_at for each in self.earlier)

    def seen_by(self, secret: EarlierSecret) -> KeyRecord:
        """Return this record as an earlier secret may use it: not beyond its end, and with JWTs that end with it."""
        return replace(self, gen=secret.gen, expires_at=self.within_life(secret.ends_at))

    def within_life(self, moment: datetime) -> datetime:
        """Return *moment*, or when this key expires if that is earlier."""
        return moment if self.expires_at is None else min(moment, self.expires_at)

    def _raised(self, gen: int) -> KeyRecord:
        """Return this record with what the latest earlier secret gives raised to *gen*: a kill of what was spares it.

        Those before it ended with the last rotation: raised too, their end would kill what it still gives.
        """
        return replace(self, earlier=tuple(replace(each, gen=gen) for each in self.earlier[:1]) + self.earlier[1:])

    def pared(self) -> KeyRecord:
        """Return what decisions and JWTs need of this record: no hash above all."""
        return replace(
            self,
            name="",
            bcrypt="",
            digest="",
            digest_pepper="",
            stamp_pepper="",
            issued_by="",
            rotated_by="",
            suspended_by="",
            issued_at=_UNTOLD,
            earlier=tuple(EarlierSecret(gen=each.gen, ends_at=each.ends_at) for each in self.earlier),
            requests=(),
            older_hash=None,
            policy=shared(self.policy),
        )

    def check_room(self) -> None:
        """Raise a `RecordTooLargeError` unless there is room left to stop this key, and to resume it.

        Asked of every change but those two: both add to a record, and neither may be refused for want of room.
        """
        self._text_within(MAX_TEXT - REVOKE_RESERVE)

    def to_text(self) -> str:
        """Return the value to store, or raise a `RecordTooLargeError`."""
        return self._text_within(MAX_TEXT)

    def _text_within(self, room: int) -> str:
        text = json.dumps(self.to_document(), separators=(",", ":"), ensure_ascii=False)
        length = len(text.encode("utf-16-le")) // 2  # as Java counts, and so Keycloak's limit
        if length > room:
            raise RecordTooLargeError(f"the record of key {self.key_id} would take {length} of {room} characters")
        return text

    @classmethod
    def from_text(cls, text: str) -> KeyRecord:
        """Read a stored value, or raise an `UnreadableRecordError`."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UnreadableRecordError("not JSON") from error
        if not isinstance(document, dict):
            raise UnreadableRecordError("not an object")
        key_id = document.get("id")
        try:
            if "\\u" in text:  # half a character is good JSON, but nobody could write it again
                json.dumps(document, ensure_ascii=False).encode()
            return cls.from_document(document)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise UnreadableRecordError(str(error), key_id if isinstance(key_id, str) else None) from error

    def to_document(self) -> dict[str, Any]:
        """Return the JSON object that is stored, as it is."""
        document: dict[str, Any] = {
            "v": VERSION,
            "id": self.key_id,
            "gen": self.gen,
            "env": self.environment,
            "name": self.name,
            "status": self.status.value,
            "bcrypt": self.bcrypt,
            "digest": self.digest,
            "digest_pepper": self.digest_pepper,
            "stamp_pepper": self.stamp_pepper,
            "public_key": self.public_key and self.public_key.to_jwk(),
            "issued_by": self.issued_by,
            "rotated_by": self.rotated_by,
            "issued_at": format_moment(self.issued_at),
            "expires_at": self.expires_at and format_moment(self.expires_at),
            "revoked_at": self.revoked_at and format_moment(self.revoked_at),
            "revoked_reason": self.revoked_reason and self.revoked_reason.value,
            "suspended_by": self.suspended_by,
            "older": self.is_older or None,
            "older_hash": self.older_hash,
            "jwts_from": self.jwts_from or None,
            "earlier": [each.to_document() for each in self.earlier],
            "requests": list(self.requests),
            "policy": self.policy.to_document(),
        }
        return {
            **self.extra,
            **{name: value for name, value in document.items() if value not in ("", None, {}, [])},
        }

    @classmethod
    def from_document(cls, document: dict[str, Any], **kept: Any) -> KeyRecord:  # noqa: ANN401 - fields
        """Read a stored object; raises KeyError, TypeError or ValueError on anything else.

        *kept* are fields that stand elsewhere.
        """
        known: dict[str, Any] = {"name": "", **kept}
        extra: dict[str, Any] = {}
        for name, value in document.items():
            if name not in _FIELDS:
                extra[name] = value
                continue
            attribute, kind, read = _FIELDS[name]
            if type(value) is not kind:
                raise _wrong_type(name)
            known[attribute] = value if read is None else read(value)
        if known.pop("v") != VERSION:
            raise ValueError("unknown version")
        if known.pop("older", False):
            known.setdefault("older_hash", "")
        else:
            known.pop("older_hash", None)
        record = cls(**known, extra=extra or _NOTHING)
        if not record.key_id:
            raise ValueError("no id")
        if record.public_key is not None and (record.bcrypt or record.digest or record.earlier or record.is_older):
            raise ValueError("a public key beside a secret")  # whoever wrote that wants one to pass for the other
        if record.revoked_at is not None and record.status is not Status.REVOKED:
            raise ValueError("revoked, and not revoked")  # floors do not look at what is dead already
        return record


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A stored value that could not be read: kept verbatim, so that a rewrite loses nothing."""

    text: str
    key_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A user or service account, with the records of all its keys.

    *lookups* are the values by which `Directory.find` finds this owner. *not_before* is in epoch seconds: JWTs
    issued then or earlier are dead ("sign out everywhere"). *roles* are those of `Directory.roles`, None where they
    were not read. *attributes* are those that JWTs tell, each with its values; None where the store has none.
    """

    id: str
    username: str
    enabled: bool = True
    not_before: int = 0
    records: tuple[KeyRecord, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    lookups: frozenset[str] = frozenset()
    roles: frozenset[str] | None = None
    attributes: Mapping[str, tuple[str, ...]] | None = field(default=None, hash=False)

    def record(self, key_id: str) -> KeyRecord | None:
        """Return the record of that key, if this owner has it."""
        return next((record for record in self.records if record.key_id == key_id), None)

    def by_age(self) -> tuple[KeyRecord, ...]:
        """Return the records, that of the oldest key first."""
        return tuple(sorted(self.records, key=lambda record: (record.issued_at, record.key_id)))

    def live(self, now: datetime) -> int:
        """Count the live keys."""
        return sum(record.is_live(now) for record in self.records)

    def with_record(self, record: KeyRecord) -> Owner:
        """Return this owner with *record* added or put in place of its predecessor."""
        others = tuple(other for other in self.records if other.key_id != record.key_id)
        return replace(self, records=(*others, record), lookups=self.lookups | record.lookups).without_old_tombstones()

    def is_own(self, actor: str) -> bool:
        """Tell whether that actor, as `kept_actor` keeps it, is this owner itself or one of its keys."""
        own = (f"realm:{self.username}", *(f"key:{record.key_id}" for record in self.records))
        return any(actor in (kept_actor(each), hidden_actor(each)) for each in own)

    def with_suspension(self, key_id: str, gen: int, by: str = "") -> Owner:
        """Return this owner with that key suspended, or as it is if the key is gone or dead.

        One that its owner had suspended itself is from now on suspended by somebody else, and never the other way.
        """
        record = self.record(key_id)
        if record is None or record.is_dead:
            return self
        if record.status is Status.SUSPENDED and (self.is_own(kept_actor(by)) or not self.is_own(record.suspended_by)):
            return self
        return self.with_record(record.suspended(gen, by))

    def with_death(self, key_id: str, now: datetime, reason: RevocationReason, gen: int) -> Owner:
        """Return this owner with that key revoked, or as it is if the key is gone or dead already."""
        record = self.record(key_id)
        if record is None or record.revoked_at is not None:
            return self
        return self.with_record(record.revoked(now, reason, gen))

    def purged(self, before: datetime) -> Owner:
        """Return this owner with each key that expired before then shrunk to its tombstone, or as it is.

        A record of the older form stays: it is as small as a tombstone, and nothing in it but its bcrypt would know
        the key again.
        """
        for record in self.records:
            if not record.is_dead and not record.is_older and record.is_expired(before):
                return self.with_record(record.expired()).purged(before)
        pruned = self.without_old_tombstones()
        return self if len(pruned.records) == len(self.records) else pruned

    def with_room_for_one(self, most: int, now: datetime) -> Owner:
        """Return this owner with so many expired keys shrunk that those kept whole, and one more, are at most *most*.

        Else keys of a few seconds would fill what a user may hold of them, and shut their owner out.
        """
        whole = [record for record in self.records if not record.is_dead]
        expired = sorted((each for each in whole if each.is_expired(now) and not each.is_older), key=_ended_at)
        owner = self
        for record in expired[: max(0, len(whole) + 1 - most)]:
            owner = owner.with_record(record.expired())
        return owner

    def without_old_tombstones(self) -> Owner:
        """Return this owner with at most ten tombstones, the latest."""
        dead = sorted(
            (record for record in self.records if record.is_dead),
            key=lambda record: record.revoked_at or record.expires_at or record.issued_at,
        )
        purged = {record.key_id: record for record in dead[:-MAX_TOMBSTONES]}
        return replace(
            self,
            records=tuple(record for record in self.records if record.key_id not in purged),
            lookups=self.lookups
            - {lookup for record in purged.values() for lookup in {record.key_id} | record.lookups},
        )


def kept_actor(actor: str) -> str:
    """Return an actor as a record keeps it: its text, or `hidden_actor` if that is long."""
    return actor if len(json.dumps(actor)) <= _MAX_ACTOR else hidden_actor(actor)


def hidden_actor(actor: str) -> str:
    """Return a short name for an actor that shows nobody's username, "" for nobody."""
    hidden = actor.startswith("#") or not actor
    return actor if hidden else "#" + hashlib.sha256(actor.encode(errors="replace")).hexdigest()[:32]


def _ended_at(record: KeyRecord) -> datetime:
    return record.expires_at or record.issued_at


def format_moment(moment: datetime) -> str:
    """Return an aware moment as ISO 8601 in UTC, to the second."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def moment_of(seconds: float) -> datetime:
    """Return the moment that lies so many seconds after the epoch."""
    return datetime.fromtimestamp(seconds, UTC)


def parse_moment(text: str) -> datetime:
    """Read an ISO 8601 moment; a naive one means UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("a moment beyond the calendar") from error


_REQUIRED: Any = object()


def _take(fields: dict[str, Any], name: str, kind: Callable[..., Any], default: Any = _REQUIRED) -> Any:  # noqa: ANN401 - JSON
    value = fields.pop(name) if default is _REQUIRED else fields.pop(name, default)
    if type(value) is not kind:
        raise _wrong_type(name)
    return value


def _wrong_type(name: str) -> ValueError:
    return ValueError(f"field {name!r} has the wrong type")


def _read_public_key(jwk: dict[str, Any]) -> PublicKey | None:
    return PublicKey.from_jwk(jwk) if jwk else None


def _read_moment(text: str) -> datetime | None:
    return parse_moment(text) if text else None


def _read_environment(text: str) -> Environment:
    if text == "test":
        return "test"
    if text == "live":
        return "live"
    raise ValueError("unknown environment")


def _read_status(text: str) -> Status:
    return Status(text) if text else Status.ACTIVE


def _read_reason(text: str) -> RevocationReason | None:
    return RevocationReason(text) if text else None


def _read_earlier(secrets: list[dict[str, Any]]) -> tuple[EarlierSecret, ...]:
    return tuple(EarlierSecret.from_document(each) for each in secrets)


def _read_requests(tags: list[Any]) -> tuple[str, ...]:
    return tuple(str(each) for each in tags)


# What stands in a document: the field it becomes, its type there, and how it is read if it is not kept as it is.
_FIELDS: Mapping[str, tuple[str, type, Callable[[Any], Any] | None]] = {
    "v": ("v", int, None),
    "id": ("key_id", str, None),
    "gen": ("gen", int, None),
    "env": ("environment", str, _read_environment),
    "name": ("name", str, None),
    "status": ("status", str, _read_status),
    "bcrypt": ("bcrypt", str, None),
    "digest": ("digest", str, None),
    "digest_pepper": ("digest_pepper", str, None),
    "stamp_pepper": ("stamp_pepper", str, None),
    "public_key": ("public_key", dict, _read_public_key),
    "issued_by": ("issued_by", str, None),
    "rotated_by": ("rotated_by", str, None),
    "issued_at": ("issued_at", str, parse_moment),
    "expires_at": ("expires_at", str, _read_moment),
    "revoked_at": ("revoked_at", str, _read_moment),
    "revoked_reason": ("revoked_reason", str, _read_reason),
    "suspended_by": ("suspended_by", str, None),
    "older": ("older", bool, None),
    "older_hash": ("older_hash", str, None),
    "jwts_from": ("jwts_from", int, None),
    "earlier": ("earlier", list, _read_earlier),
    "requests": ("requests", list, _read_requests),
    "policy": ("policy", dict, Policy.from_document),
}
