"""The ports: what the authority relies on, and what each may be trusted for.

Every call has a deadline of its own and answers with a value, with "not there" (None or an empty tuple), or
raises `CannotTellError`. Nothing here retries for ever. Moments that are floats are epoch seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from datetime import date

    from keystile.changes import Change, Floor, PollMark, Position
    from keystile.keys import ApiKey
    from keystile.limits import Bucket
    from keystile.records import Owner
    from keystile.signing_keys import Noted, PublishedKey, SigningNote
    from keystile.usage import DayCounts, LastUse, LastUses
    from keystile.verdicts import Known, Verdict

Clock = Callable[[], datetime]
"""The wall clock: aware, UTC."""

Ticks = Callable[[], float]
"""A monotonic clock in seconds, for freshness and waits: nobody can step it."""

OwnerChange = Callable[["Owner"], "Owner"]
"""A pure change of an owner's records. It may be called again on a newer owner, and may raise a
`ChangeRefusedError`, which leaves everything as it was."""


class Directory(Protocol):
    """Owners and their key records.

    Trusted for what it holds: whoever can write to it can issue keys. `update` is atomic against every other
    `update` of that owner, in any process, while the deployment's lock is kept; nothing else an owner holds is lost.
    """

    async def find(self, lookup: str) -> tuple[Owner, ...]:
        """Return the owners (at most two: two is already wrong) with that look-up value, fresh from the store.

        An empty answer means unknown: a directory that cannot vouch for it raises `CannotTellError`.
        """
        ...

    async def owner(self, owner_id: str) -> Owner | None:
        """Return that owner, fresh from the store."""
        ...

    async def owner_named(self, username: str) -> Owner | None:
        """Return the owner of that username (service accounts included), fresh from the store."""
        ...

    async def adopt(self, username: str) -> Owner:
        """Return that owner, creating it where the store may; else raises `OwnerUnknownError`."""
        ...

    async def update(self, owner_id: str, change: OwnerChange, *, urgent: bool = False) -> Owner:
        """Apply *change*, read back, and return the owner as stored.

        An *urgent* change (revoke, suspend) goes on without the deployment's lock where that is out of reach.
        Raises `OwnerUnknownError`, what *change* raises, or `CannotTellError` when the outcome is unknown.
        """
        ...

    async def owners(self, after: str = "", *, enabled: bool = True) -> tuple[tuple[Owner, ...], str]:
        """Return one page of owners that hold keys, and the cursor of the next page ("" at the end).

        Either of those that are enabled or of those that are not.
        """
        ...

    async def roles(self, owner_id: str) -> frozenset[str] | None:
        """Return what that owner effectively holds: roles `name`, client roles `client:name`, groups `/path`.

        Of client roles, only those are told that scopes depend on, and Keystile's own. None where the store knows no
        roles. Raises `OwnerUnknownError`.
        """
        ...

    async def administers(self, owner_id: str) -> bool:
        """Tell whether that owner effectively holds any role of Keystile, or of the management of the realm.

        Raises `OwnerUnknownError`.
        """
        ...


class Enrolment(Protocol):
    """Makes owners of people who come by themselves."""

    async def create(self, username: str) -> None:
        """Make an owner of that name that holds nothing: no key, no role, no e-mail, no other credential.

        Raises `ChangeRefusedError` if somebody has the name, however that came, or `CannotTellError`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Cached:
    """What a cache knows of a presented key: a verdict if it has one, and the floor of its key if there is one."""

    verdict: Verdict | None = None
    floor: Floor | None = None


class VerdictCache(Protocol):
    """Verdicts by presented key. Not trusted to keep anything, and never able to turn a refusal into an acceptance.

    It answers only with verdicts whose seal is whole; whether a verdict still counts is for the caller to judge.
    """

    async def get(self, key: ApiKey) -> Cached:
        """Return what is known of *key*, in one round trip. Raises `CannotTellError` when out of reach."""
        ...

    async def put(self, key: ApiKey, verdict: Verdict) -> None:
        """Keep *verdict* for *key* for a while. Raises `CannotTellError` when out of reach."""
        ...

    async def floor(self, key_id: str) -> Floor | None:
        """Return the floor of that key. Raises `CannotTellError` when out of reach."""
        ...


class NearVerdictCache(VerdictCache, Protocol):
    """The verdicts of this process: never out of reach, and asked on every request."""

    def __len__(self) -> int:
        """Return how many are kept."""
        ...

    def known(self, name: bytes) -> Known | None:
        """Return what is kept under that cache name, to be judged and prepared in place; one dictionary look-up."""
        ...

    def peek(self, name: bytes) -> Verdict | None:
        """Return the verdict kept under that cache name."""
        ...

    def keep(self, name: bytes, verdict: Verdict) -> None:
        """Keep *verdict* under that cache name, in place of any older one."""
        ...

    def forget_answers(self) -> None:
        """Forget what was prepared from verdicts, and no verdict: JWTs are signed otherwise from now on."""
        ...


@dataclass(frozen=True, slots=True)
class LogPage:
    """What one read of the change log told.

    *position*: where the log stood. *changes*: what came after the position asked for, oldest first. *whole*:
    False if something may be missing between the two (another incarnation, trimmed, cut): older verdicts are void.
    *polled*: the last complete poll of admin events, None where nobody polls. *dropped*: entries whose MAC was wrong.
    """

    position: Position
    changes: tuple[Change, ...] = ()
    whole: bool = True
    polled: PollMark | None = None
    dropped: int = 0


class ChangeLog(Protocol):
    """One log per deployment: every process reads it every tenth of a second and obeys it.

    `read` succeeds only if the log could also have been written to at that moment: hearing nothing then proves
    that nothing was said. An entry is durable when `append` returns.
    """

    async def append(self, change: Change) -> Position:
        """Append *change* (its floor too) and return its position. Raises `CannotTellError`."""
        ...

    async def mark_polled(self, mark: PollMark) -> None:
        """Say that admin events were followed completely up to that moment. Raises `CannotTellError`."""
        ...

    async def read(self, after: Position | None) -> LogPage:
        """Return what was appended after that position; None: all that is kept. Raises `CannotTellError`."""
        ...


class Journal(Protocol):
    """Deaths that were accepted while directory or log were away, on this machine's disk: for its processes alone.

    Trusted to keep what it acknowledged over any crash. Every method raises `CannotTellError` where the disk fails.
    """

    async def add(self, change: Change) -> None:
        """Keep *change*, in place of an earlier one of that key; durable when this returns."""
        ...

    async def entries(self) -> tuple[Change, ...]:
        """Return what is kept."""
        ...

    async def remove(self, change: Change) -> None:
        """Forget what is kept for that key: it is known where it has to be."""
        ...

    def turn(self) -> AbstractContextManager[bool]:
        """Tell, while the block runs, whether it is for us to finish what is kept: for one process at a time."""
        ...


class TokenIssuer(Protocol):
    """Makes and checks our JWTs."""

    @property
    def issuer(self) -> str:
        """The `iss` of every JWT, byte for byte as configured."""
        ...

    @property
    def kids(self) -> frozenset[str]:
        """The ids of the keys that `verify` takes; the same object until they change."""
        ...

    async def mint(self, claims: dict[str, Any]) -> str:
        """Return the signed JWT. Raises `CannotTellError` where somebody else signs and is out of reach."""
        ...

    def maker(self, audience: str) -> str:
        """Return a short name of issuer, *audience* and signing key: JWTs of one maker are as good as each other."""
        ...

    def verify(self, token: str) -> dict[str, Any] | None:
        """Return the claims of one of our own unexpired JWTs, else None. The audience is for the caller to judge."""
        ...

    def jwks(self) -> dict[str, Any]:
        """Return the public keys (RFC 7517): next, current, previous."""
        ...


@dataclass(frozen=True, slots=True)
class KeysRead:
    """The signing keys there are now, and what is wrong with what else is there, a sentence each: no secret in it."""

    keys: tuple[PublishedKey, ...]
    faults: tuple[str, ...] = ()


class SigningKeys(Protocol):
    """The private keys of the local issuer. Whoever can write to where they are kept can sign."""

    async def read(self) -> KeysRead:
        """Return what is there now; what cannot be read is a fault, and at least one key may sign."""
        ...

    def use(self, kid: str) -> None:
        """Sign with that key from now on; show it and the others that were read last, and check against no others."""
        ...

    async def make(self, not_before: datetime) -> PublishedKey:
        """Make another key, for use no earlier than that, durably.

        Raises `ChangeRefusedError` where somebody else makes one, `ConfigurationError` where nobody can write.
        """
        ...

    async def remove(self, key: PublishedKey) -> bool:
        """Take a key away for good, and tell whether that could be done."""
        ...


@dataclass(frozen=True, slots=True)
class Notes:
    """What processes noted. *known*: there was a note of who just wrote one; *dropped*: how many had a wrong MAC."""

    noted: tuple[Noted, ...] = ()
    known: bool = False
    dropped: int = 0


class SigningNotes(Protocol):
    """Which signing keys each process shows and signs with: 512 notes at most, a day each, the newest for ever.

    Not trusted to keep them: where notes are lost, a key may come into use before some process checks against it.
    """

    async def note(self, note: SigningNote) -> Notes:
        """Keep *note* in place of that process's earlier one; return all. Raises `CannotTellError`."""
        ...

    async def read(self) -> Notes:
        """Return all. Raises `CannotTellError`."""
        ...


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A token that the realm signed. Moments are epoch seconds by its own clock: it decides how long a token lives."""

    text: str = field(repr=False)
    issued_at: float
    expires_at: float


class RealmSigner(Protocol):
    """Asks the realm for tokens of its owners, and takes them back.

    Trusted for whom it signs; a token that says anything else than what was asked for is never returned.
    """

    async def sign(self, owner_id: str, audience: str, scopes: tuple[str, ...]) -> SignedToken:
        """Return a token for exactly that audience and those scopes.

        Raises `KeyRefusedError` (without a key's name) where the realm has no such audience or scope, or the owner may
        not have it; `CannotTellError` while it is out of reach, or not set up, which is an alert too.
        """
        ...

    async def revoke(self, token: str) -> None:
        """Make a token inactive at the realm (RFC 7009); again changes nothing. Raises `CannotTellError`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedToken:
    """A token that was handed out for a key of generation *gen*; it ends at *expires_at* (epoch seconds)."""

    text: str = field(repr=False)
    gen: int
    expires_at: float


class HandedTokens(Protocol):
    """The tokens of the realm that were handed out for each key, until they end: so that a revoke finds them.

    Not trusted: whoever can write to it can hide tokens from a revoke, until they end by themselves, and read none.
    Every method raises `CannotTellError` when out of reach.
    """

    async def add(self, key_id: str, token: HandedToken, now: float) -> bool:
        """Keep *token*; False if as many of that key live already as are kept. The same one again changes nothing."""
        ...

    async def of(self, key_id: str, now: float) -> tuple[HandedToken, ...]:
        """Return those of that key that have not ended by *now* (epoch seconds)."""
        ...

    async def remove(self, key_id: str, tokens: Sequence[HandedToken]) -> None:
        """Forget these."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RealmUser:
    """Whom a realm's access token names. *roles* are those of the client `keystile`, *issued_at* epoch seconds."""

    id: str
    username: str
    issued_at: int
    roles: frozenset[str] = frozenset()
    tenants: frozenset[str] = frozenset()


class RealmTokens(Protocol):
    """Checks access tokens that the realm made for Keystile: here, without asking it about each.

    So whoever left the realm a moment ago may still be let in, until the token's own end.
    """

    async def verify(self, token: str) -> RealmUser | None:
        """Return whom *token* names, None if it is not good. Raises `CannotTellError` where no keys are known yet."""
        ...

    async def client(self, token: str) -> str | None:
        """Return the resource server that got *token* for itself, None if it is not good or somebody's own.

        Raises `CannotTellError` where no keys are known yet.
        """
        ...


class FailureLimiter(Protocol):
    """Counts failed look-ups per client address (an IPv6 client is its /64)."""

    async def wait(self, address: str) -> int:
        """Return 0 while the address may fail again, else the seconds until it may. Never raises."""
        ...

    async def fail(self, address: str, tag: str) -> None:
        """Count one failed look-up, once a minute for each distinct key *tag*. Never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a store granted of a bucket, counted there already (0: something is spent), and what it has *left* now.

    *left* stands in the order of the bucket's quotas; of a spent one it may be negative.
    """

    granted: int
    left: tuple[int, ...]


class Allowances(Protocol):
    """Counts requests and cents of the whole deployment per bucket, in calendar windows.

    Trusted to count: what it grants in one window never exceeds a quota, in however many processes. What was granted
    and is not used stays counted. Both methods raise `CannotTellError` when out of reach.
    """

    async def take(self, bucket: Bucket, *, needed: int, ahead: int, at: float) -> Allowance:
        """Count up to *needed* requests in the windows of *at*, or *ahead* if that is more: see `limits.share`.

        Nothing is granted while any quota of the bucket, its cents included, is spent.
        """
        ...

    async def charge(self, bucket: Bucket, *, cents: int, at: float) -> int:
        """Count what use has cost, and return what is left of the month's cents: below zero if it cost more.

        The bucket has a quota of cents.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One audited event. *owner* is an id or username, *actor* is who did it, *detail* holds no secret."""

    event: str
    outcome: str
    key_id: str | None = None
    owner: str | None = None
    tenant: str | None = None
    actor: str | None = None
    address: str | None = None
    reason: str | None = None
    request_id: str | None = None
    count: int | None = None
    detail: dict[str, Any] = field(default_factory=dict)


class Span(Protocol):
    """A piece of a trace. Nothing that a caller sent is ever noted in one."""

    @property
    def traceparent(self) -> str:
        """How others name this span (W3C Trace Context)."""
        ...

    def note(self, name: str, value: str | int) -> None:
        """Say something of few words about it."""
        ...

    def answered(self, status: int) -> None:
        """Say with which HTTP status it ended."""
        ...


class Tracer(Protocol):
    """Where traces go, if somebody wants them; sending them never holds up a request."""

    def request(self, door: str, method: str, traceparent: str) -> AbstractContextManager[Span]:
        """Trace a request while the block runs, as a part of the trace that *traceparent* names ("": its own)."""
        ...

    def step(self, name: str, *, once: bool = False) -> AbstractContextManager[Span]:
        """Trace a step of the request; *once*: only the first of that name. Outside of requests nothing is traced."""
        ...


class AuditLog(Protocol):
    """Where audit lines go. Losing a line is reported, never raised: a full disk must not stop a revocation."""

    def record(self, event: AuditEvent) -> None:
        """Write one line, now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptEvent:
    """An audited event and when it was (epoch seconds). *id* is the store's own, "" before it is kept."""

    at: float
    event: AuditEvent
    id: str = ""

    def to_text(self) -> str:
        """Return the form that a store keeps."""
        return json.dumps([self.at, asdict(self.event)], default=str)

    @classmethod
    def from_text(cls, text: bytes | str, event_id: str) -> KeptEvent:
        """Read what `to_text` wrote, kept under that id; raises ValueError or TypeError on anything else."""
        at, fields = json.loads(text)
        known = {name: value for name, value in fields.items() if name in AuditEvent.__dataclass_fields__}
        return cls(at=float(at), event=AuditEvent(**known), id=event_id)

    def to_document(self) -> dict[str, Any]:
        """Return what a reader is told: what is known, and the detail beside it."""
        told = {name: value for name, value in asdict(self.event).items() if name != "detail" and value is not None}
        at = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds")
        return {"id": self.id, "at": at, **told, "detail": self.event.detail}


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events, newest first, and the cursor of the next page ("" at the end)."""

    events: tuple[KeptEvent, ...]
    next: str = ""


class RecentEvents(Protocol):
    """The recent part of the audit, to be asked: bounded in number and age, never the only place a line is in.

    Not trusted: whoever can write to what keeps it can hide events, and make none. Every method raises
    `CannotTellError` when out of reach. A cursor that is none of ours finds nothing.
    """

    async def add(self, batch_id: str, events: Sequence[KeptEvent]) -> None:
        """Keep *events*, oldest first; the same batch again changes nothing."""
        ...

    async def of_key(self, key_id: str, *, limit: int, before: str = "") -> EventPage:
        """Return the events that name that key."""
        ...

    async def of_owner(self, owner: str, *, limit: int, before: str = "") -> EventPage:
        """Return the events that name that owner."""
        ...

    async def latest(self, *, limit: int, before: str = "") -> EventPage:
        """Return the events of everybody."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageBatch:
    """What one process counted and saw since it told last, under an *id* of its own."""

    id: str
    counts: tuple[DayCounts, ...] = ()
    uses: tuple[LastUse, ...] = ()


class UsageStore(Protocol):
    """The use of keys by day, for 400 days. Not trusted: nothing in it makes a key good, and its loss makes none bad.

    Counts stop at 2**53, endpoints of a key and day are kept for the most used. Every method raises
    `CannotTellError` when out of reach.
    """

    async def add(self, batch: UsageBatch) -> None:
        """Add the counts, and keep the uses that are later than those kept; the same batch again changes nothing."""
        ...

    async def days(self, key_id: str, days: Sequence[date]) -> tuple[DayCounts, ...]:
        """Return what is counted of that key, for those of these *days* on which anything is."""
        ...

    async def last_uses(self, key_id: str) -> LastUses:
        """Return who used that key last."""
        ...


class Leases(Protocol):
    """Named leases: at most one holder at a time in the whole deployment, while what keeps them is not lost."""

    async def take(self, name: str, ttl: float) -> str | None:
        """Return a token if the lease was free and is now ours for *ttl* seconds, else None.

        Raises `CannotTellError` when out of reach.
        """
        ...

    async def renew(self, name: str, token: str, ttl: float) -> bool:
        """Keep a lease for another *ttl* seconds; False if it is no longer ours. Raises `CannotTellError`."""
        ...

    async def release(self, name: str, token: str) -> None:
        """Give a lease back if it is still ours. Never raises: it ends by itself."""
        ...


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A record that no look-up value names: who holds it, and by what it may be recognised.

    *name* is a 32-byte MAC of the key id or `cacheHash`; None where only *bcrypt* can tell.
    """

    owner_id: str
    key_id: str
    name: bytes | None = None
    bcrypt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexState:
    """A finished crawl: which *generation* of the index it filled, and when."""

    generation: str
    started_at: float
    finished_at: float


class IndexStore(Protocol):
    """Keeps the fallback index between processes. Entries are hints: whoever is named is read again and proved.

    Every method raises `CannotTellError` when out of reach.
    """

    async def state(self) -> IndexState | None:
        """Return the last finished crawl, None if there is none or its mark was tampered with."""
        ...

    async def finish(self, state: IndexState) -> None:
        """Make *state* the finished crawl, and drop other generations."""
        ...

    async def add(self, generation: str, entries: Sequence[IndexEntry]) -> None:
        """Add entries; the same one again changes nothing."""
        ...

    async def named(self, generation: str, names: Sequence[bytes]) -> tuple[IndexEntry, ...]:
        """Return the entries of any of these names, in one round trip."""
        ...

    async def unnamed(self, generation: str, limit: int) -> tuple[IndexEntry, ...]:
        """Return up to *limit* entries that only bcrypt can recognise."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PolledEvents:
    """One complete poll.

    *owner_ids*: the owners that foreign events name; *own_ids*: those changed by our writer alone; *realm_wide*:
    some event concerned the whole realm; *polled_at*: up to which moment this is known, by the server's clock.
    """

    owner_ids: frozenset[str]
    own_ids: frozenset[str] = frozenset()
    realm_wide: bool
    polled_at: float


class OwnerEvents(Protocol):
    """Changes made to owners elsewhere, in Keycloak's console for instance."""

    async def poll(self, since: float | None) -> PolledEvents:
        """Return what happened since that moment (None: only learn the time). The same event is told once.

        Raises `CannotTellError` while events
        cannot be followed: the server is out of reach, or they are switched off.
        """
        ...
