"""The life of a key: issue, list, show, revoke."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from keystile.changes import ALL_GENERATIONS, FLOOR_TTL, Change
from keystile.errors import CannotTellError, ChangeRefusedError, KeyUnknownError, TooManyKeysError
from keystile.policy import RESERVED_SCOPES, may_be_listed
from keystile.ports import AuditEvent
from keystile.records import KeyRecord, Policy, RevocationReason

if TYPE_CHECKING:
    from datetime import datetime

    from keystile.authority.auditing import Auditor
    from keystile.authority.follower import Follower
    from keystile.authority.proof import Prover
    from keystile.keys import ApiKey, Environment, KeyFormat
    from keystile.policy import Rules
    from keystile.ports import Clock, Directory
    from keystile.records import Owner

MAX_NAME = 100
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRequest:
    """What a new key should be. *owner* is a username; *issued_by* says who asked."""

    owner: str
    name: str
    issued_by: str
    environment: Environment = "live"
    expires_at: datetime | None = None
    policy: Policy


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key, the only moment its text exists here, with its record and owner."""

    key: ApiKey
    record: KeyRecord
    owner: Owner


@dataclass(frozen=True, slots=True)
class RevokedKey:
    """A revoked key. Without *record* it is said but not written yet: it bites, and the store will follow."""

    key_id: str
    owner: Owner | None
    record: KeyRecord | None


@dataclass(frozen=True, kw_only=True)
class Lifecycle:
    """Changes keys in the directory and says so in the change log."""

    directory: Directory
    follower: Follower
    format: KeyFormat
    prover: Prover
    auditor: Auditor
    rules: Rules
    clock: Clock
    max_keys_per_owner: int

    async def issue(self, request: KeyRequest) -> IssuedKey:
        """Issue a key, or raise a `ChangeRefusedError`; nothing is kept unless it is all kept."""
        self._check(request)
        owner = await self.directory.adopt(request.owner)
        key = self.format.generate(request.environment)
        record = self._new_record(key, await self.prover.hash(key), request)
        updated = await self.directory.update(owner.id, lambda current: self._with_new(current, record))
        await self._say_issued(record, updated)
        self._audit("key_issued", record, updated, request.issued_by)
        return IssuedKey(key, record, updated)

    async def keys_of(self, username: str) -> tuple[Owner, tuple[KeyRecord, ...]]:
        """Return an owner and the records of its keys, oldest first."""
        owner = await self.directory.owner_named(username)
        if owner is None:
            raise ChangeRefusedError(f"there is no owner named {username!r}")
        return owner, tuple(sorted(owner.records, key=lambda record: record.issued_at))

    async def all_keys(self) -> list[tuple[Owner, KeyRecord]]:
        """Return every key of the store with its owner; pages through all of it."""
        found: list[tuple[Owner, KeyRecord]] = []
        after, more = "", True
        while more:
            owners, after = await self.directory.owners(after)
            found += [(owner, record) for owner in owners for record in owner.records]
            more = bool(after)
        return found

    async def show(self, key_id: str) -> tuple[Owner, KeyRecord]:
        """Return a key's owner and record, or raise `KeyUnknownError`."""
        for owner in await self._holders(key_id):
            record = owner.record(key_id)
            if record is not None:
                return owner, record
        raise KeyUnknownError(f"there is no key with the id {key_id}")

    async def revoke(self, key_id: str, *, reason: RevocationReason, revoked_by: str) -> RevokedKey:
        """Revoke a key for ever: said first, so that it bites at once, then written. Twice is as good as once.

        While the directory is away the word stands alone, and `PendingDeaths` writes it later. Raises
        `CannotTellError` if it could be neither said nor written.
        """
        if not _KEY_ID.fullmatch(key_id):
            raise KeyUnknownError("this is no key id")
        try:
            holders = await self._holders(key_id)
        except CannotTellError:
            return await self._revoke_unseen(key_id, reason, revoked_by)
        if not holders:
            raise KeyUnknownError(f"there is no key with the id {key_id}")
        revoked = [await self._revoke_held(owner, key_id, reason, revoked_by) for owner in holders]
        return revoked[0]

    async def _revoke_held(self, owner: Owner, key_id: str, reason: RevocationReason, revoked_by: str) -> RevokedKey:
        record = owner.record(key_id)
        if record is None or record.revoked_at is not None:
            return RevokedKey(key_id, owner, record)
        dead = self._death(key_id, owner, record)
        said = await self._try_to_say(dead)
        now = self.clock()

        def change(current: Owner) -> Owner:
            found = current.record(key_id)
            if found is None or found.revoked_at is not None:  # gone, or another one was faster
                return current
            return current.with_record(found.revoked(now, reason, dead.gen))

        try:
            updated = await self.directory.update(owner.id, change, urgent=True)
        except CannotTellError:
            if not said:
                raise
            await self._try_to_say(replace(dead, pending=True))
            return self._pending(key_id, revoked_by, reason)
        if not said:
            await self._try_to_say(dead)
        revoked = updated.record(key_id) or record.revoked(now, reason, dead.gen)
        self._audit("key_revoked", revoked, updated, revoked_by, reason=reason.value)
        return RevokedKey(key_id, updated, revoked)

    async def _revoke_unseen(self, key_id: str, reason: RevocationReason, revoked_by: str) -> RevokedKey:
        await self.follower.announce(replace(self._death(key_id, None, None), pending=True))
        return self._pending(key_id, revoked_by, reason)

    def _pending(self, key_id: str, revoked_by: str, reason: RevocationReason) -> RevokedKey:
        event = AuditEvent(
            event="key_revoked", outcome="pending", key_id=key_id, reason=reason.value, detail={"by": revoked_by}
        )
        self.auditor.changed(event)
        return RevokedKey(key_id, None, None)

    async def _holders(self, key_id: str) -> list[Owner]:
        found = [owner for owner in await self.directory.find(key_id) if owner.record(key_id) is not None]
        # Older keys have no look-up value by their id.
        return found or [owner for owner, record in await self.all_keys() if record.key_id == key_id]

    def _check(self, request: KeyRequest) -> None:
        if not 0 < len(request.name) <= MAX_NAME or not request.name.isprintable():
            raise ChangeRefusedError(f"a key's name is 1 to {MAX_NAME} printable characters")
        if request.expires_at is not None and request.expires_at <= self.clock():
            raise ChangeRefusedError("the key would have expired already")
        for audience in request.policy.audiences:
            if audience != self.rules.default_audience and not may_be_listed(audience, self.rules):
                raise ChangeRefusedError(f"the deployment does not allow the audience {audience}")
        unknown = set(request.policy.scopes) - (self.rules.scopes or set(request.policy.scopes)) - RESERVED_SCOPES
        if unknown:
            raise ChangeRefusedError(f"the deployment does not know the scope {min(unknown)}")

    def _new_record(self, key: ApiKey, hashed: str, request: KeyRequest) -> KeyRecord:
        record = KeyRecord(
            key_id=key.tag,
            gen=1,
            environment=request.environment,
            name=request.name,
            bcrypt=hashed,
            stamp_pepper=key.stamp_pepper or "",
            issued_by=request.issued_by,
            issued_at=self.clock().replace(microsecond=0),
            expires_at=request.expires_at and request.expires_at.replace(microsecond=0),
            policy=request.policy,
        )
        record = self.prover.with_digest(key, record)
        record.to_text()  # raises here, before anything is asked of the store
        return record

    def _with_new(self, owner: Owner, record: KeyRecord) -> Owner:
        if owner.record(record.key_id) is None and owner.live(self.clock()) >= self.max_keys_per_owner:
            raise TooManyKeysError(
                f"{owner.username} holds {self.max_keys_per_owner} live keys already: revoke one first"
            )
        return owner.with_record(record)

    async def _say_issued(self, record: KeyRecord, owner: Owner) -> None:
        change = Change(key_id=record.key_id, owner_id=owner.id, gen=record.gen, at=self.clock().timestamp())
        await self._try_to_say(change)  # unsaid, only a refusal remembered for a minute could stand against it

    async def _try_to_say(self, change: Change) -> bool:
        try:
            await self.follower.announce(change)
        except CannotTellError:
            return False
        return True

    def _death(self, key_id: str, owner: Owner | None, record: KeyRecord | None) -> Change:
        now = self.clock().timestamp()
        expires_at = record.expires_at.timestamp() if record is not None and record.expires_at else 0.0
        until = max(now + FLOOR_TTL, expires_at)
        return Change(
            key_id=key_id,
            owner_id=owner.id if owner is not None else "",
            gen=record.gen + 1 if record is not None else 0,
            kills_below=ALL_GENERATIONS,
            dead=True,
            floor_until=until,
            at=now,
        )

    def _audit(self, event: str, record: KeyRecord, owner: Owner, by: str, reason: str | None = None) -> None:
        self.auditor.changed(
            AuditEvent(
                event=event,
                outcome="done",
                key_id=record.key_id,
                owner=owner.username,
                reason=reason,
                detail={"by": by, "gen": record.gen, "name": record.name},
            )
        )
