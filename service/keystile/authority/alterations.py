"""Altering live keys: resumed, rotated, or under another policy. What only stops a key is for `Stops`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from keystile.authority.lifecycle import KeyRequest, check_life, check_not_done, check_wanted, is_name
from keystile.changes import changes_of
from keystile.errors import CannotTellError, ChangeRefusedError, KeyUnknownError, PolicyRefusedError, TooManyKeysError
from keystile.expiries import cut
from keystile.records import KeyRecord, RevocationReason, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from keystile.authority.lifecycle import Lifecycle
    from keystile.authority.memory import ChangeMemory
    from keystile.keys import ApiKey
    from keystile.records import Owner, RequestTag

    Check = Callable[[Owner, KeyRecord], None]

MAX_GRACE = timedelta(days=30)
_HANDOVER = timedelta(hours=1)  # what a rotation without grace leaves the old secret if it is cut off half-way


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to alter; None and an empty mapping leave as it is. *expires_at* counts where *expires* is true."""

    name: str | None = None
    policy: Mapping[str, Any]
    expires: bool = False
    expires_at: datetime | None = None

    def applied_to(self, record: KeyRecord) -> KeyRecord:
        """Return *record* as it is wanted; the generation rises only if the policy or the expiry changes."""
        policy = record.policy.changed(self.policy)
        expires_at = self.expires_at if self.expires else record.expires_at
        renamed = record if self.name is None else record.renamed(self.name)
        if policy == record.policy and expires_at == record.expires_at:
            return renamed
        return renamed.with_policy(policy, expires_at)


@dataclass(frozen=True, slots=True)
class RotatedKey:
    """A key with a new secret, the only moment its text exists here; the one before is good until *ends_at*."""

    key: ApiKey
    record: KeyRecord
    owner: Owner
    ends_at: datetime


def nothing_to_check(_owner: Owner, _record: KeyRecord) -> None:
    """Let any alteration pass: the command line is the operator's."""


@dataclass(frozen=True, kw_only=True)
class Alterations:
    """Alters keys where *lifecycle* issued them, then says so in the change log.

    Every method takes *by*, who asked, and *check*, which sees owner and record as they are when they are written and
    may raise. Raises `KeyUnknownError`, another `ChangeRefusedError`, or `CannotTellError` while directory or lock are
    away. What is written is done: if the log cannot be told, the record and the directory's events tell it.
    """

    lifecycle: Lifecycle
    memory: ChangeMemory

    async def resume(self, key_id: str, *, by: str, check: Check = nothing_to_check) -> tuple[Owner, KeyRecord]:
        """Make a suspended key active again; JWTs from before the suspension stay dead."""

        def change(owner: Owner, record: KeyRecord) -> KeyRecord:
            if record.status is Status.ACTIVE:
                return record
            others = owner.live(self._now()) - record.is_live(self._now())
            if others >= self.lifecycle.max_keys_per_owner:
                raise TooManyKeysError(f"{owner.username} holds {others} other live keys: revoke one first")
            return record.resumed()

        owner, _, after = await self._alter(key_id, change, check)
        self.lifecycle.audit("key_resumed", owner, after, by)
        return owner, after

    async def alter(
        self, key_id: str, wanted: Wanted, *, by: str, check: Check = nothing_to_check
    ) -> tuple[Owner, KeyRecord]:
        """Change a key's name, policy or expiry. What becomes narrower bites within a second, for JWTs too."""

        def change(_owner: Owner, record: KeyRecord) -> KeyRecord:
            after = wanted.applied_to(record)
            check_wanted(after.name, after.policy, self.lifecycle.rules)
            if wanted.expires and after.is_expired(self._now()):
                raise PolicyRefusedError("the key would have expired already: revoke it instead", "expires")
            if wanted.expires:
                check_life(after.expires_at, self.lifecycle.rules, self._now())
            after.check_room()
            return after

        owner, before, after = await self._alter(key_id, change, check)
        self.lifecycle.audit("key_changed", owner, after, by, fields=sorted(_differences(before, after)))
        return owner, after

    async def rotate(
        self,
        key_id: str,
        *,
        grace: timedelta,
        by: str,
        check: Check = nothing_to_check,
        tag: RequestTag | None = None,
    ) -> RotatedKey:
        """Give a key a new secret; the one it has is good for *grace* more, any before that ends now.

        Cut off half-way it leaves the old secret working, or both. A request that was done already raises a
        `RequestReusedError`. A key of the older format has no id in it: another one takes its place, under a new id.
        """
        if not timedelta(0) <= grace <= MAX_GRACE:
            raise PolicyRefusedError("a grace is 0 to 30 days", "grace")
        holder, record = await self._held(key_id)
        if record.is_older:
            check(holder, record)
            return await self._succeed(holder, record, grace=grace, by=by, check=check, tag=tag)
        if record.public_key is not None:
            raise ChangeRefusedError("a public key has no secret to replace: register another, and revoke this one")
        key = self.lifecycle.format.generate(record.environment, key_id)
        secret = await self.lifecycle.prover.new_secret(key)
        ends_at = (self._now() + (grace or _HANDOVER)).replace(microsecond=0)

        def check_first(owner: Owner, record: KeyRecord) -> None:
            if record.digest != secret.digest:  # else it is written, and asked for once more: the answer had been lost
                check_not_done([record], tag, self._now())
            check(owner, record)

        def change(_owner: Owner, record: KeyRecord) -> KeyRecord:
            if record.digest == secret.digest:
                return record
            after = record.rotated(secret, ends_at, self._now(), by).with_request(tag, self._now())
            after.check_room()
            return after

        owner, _, after = await self._alter(key_id, change, check_first)
        if not grace:
            # Unless it was rotated once more meanwhile: then what this one replaced has ended, and the grace is theirs.
            owner, _, after = await self._alter(
                key_id,
                lambda _, record: record.without_earlier(self._now()) if record.digest == secret.digest else record,
                check,
            )
        self.lifecycle.audit("key_rotated", owner, after, by, grace_seconds=int(grace.total_seconds()))
        return RotatedKey(key, after, owner, after.earlier[0].ends_at)

    async def _succeed(
        self, holder: Owner, older: KeyRecord, *, grace: timedelta, by: str, check: Check, tag: RequestTag | None
    ) -> RotatedKey:
        """Issue a key that may do the same, then let the *older* one expire when the grace ends, or revoke it now."""
        now, lifecycle = self._now(), self.lifecycle
        if older.status is not Status.ACTIVE or not older.is_live(now):
            raise ChangeRefusedError(f"key {older.key_id} is {older.status.value}: only an active one has a successor")
        request = KeyRequest(
            owner=holder.username,
            name=older.name if is_name(older.name) else older.key_id,
            issued_by=by,
            environment=older.environment,
            expires_at=cut(older.expires_at, lifecycle.rules.longest_life, now),
            policy=older.policy,
            tag=tag,
        )
        issued = await lifecycle.issue(request)
        ends_at = older.within_life((now + grace).replace(microsecond=0))
        if grace:
            await self._alter(older.key_id, lambda _, record: record.with_policy(record.policy, ends_at), check)
        else:
            await lifecycle.revoke(older.key_id, reason=RevocationReason.SUPERSEDED, revoked_by=by)
        lifecycle.audit(
            "key_rotated", holder, older, by, grace_seconds=int(grace.total_seconds()), successor=issued.record.key_id
        )
        return RotatedKey(issued.key, issued.record, issued.owner, ends_at)

    async def end_jwts(self, key_id: str, *, by: str) -> None:
        """Kill every JWT that the key gave so far, within a second; the key itself stays as it is."""
        owner, _, after = await self._alter(key_id, lambda _, record: record.without_jwts(), nothing_to_check)
        self.lifecycle.audit("jwts_ended", owner, after, by)

    async def _alter(
        self, key_id: str, change: Callable[[Owner, KeyRecord], KeyRecord], check: Check
    ) -> tuple[Owner, KeyRecord, KeyRecord]:
        """Return the owner after the change, and the record before and after it."""
        holder, before = await self._held(key_id)

        def apply(owner: Owner) -> Owner:
            nonlocal before
            record = owner.record(key_id)
            if record is None:
                raise KeyUnknownError(f"there is no key with the id {key_id}")
            if not record.is_live(self._now()):
                raise ChangeRefusedError(f"key {key_id} is {'expired' if record.revoked_at is None else 'revoked'}")
            check(owner, record)
            before = record
            return owner.with_record(change(owner, record))

        owner = await self.lifecycle.directory.update(holder.id, apply)
        after = owner.record(key_id)
        if after is None:
            raise CannotTellError(f"key {key_id} went while it was changed")
        for said in changes_of(after, owner.id, self._now()):
            await self.lifecycle.stops.say_written(said)
        return owner, before, after

    async def _held(self, key_id: str) -> tuple[Owner, KeyRecord]:
        if self.memory.is_pending(key_id):
            raise CannotTellError(f"a stop of key {key_id} waits to be written")
        holders = await self.lifecycle.stops.holders(key_id)
        if len(holders) > 1:
            raise ChangeRefusedError(f"two owners hold a key with the id {key_id}: revoke it")
        for owner in holders:
            record = owner.record(key_id)
            if record is not None:
                return owner, record
        raise KeyUnknownError(f"there is no key with the id {key_id}")

    def _now(self) -> datetime:
        return self.lifecycle.clock()


def _differences(before: KeyRecord, after: KeyRecord) -> set[str]:
    """Return the names of what differs: fields of the policy by their own names."""
    old, new = before.policy.to_document(), after.policy.to_document()
    changed = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    changed |= {"name"} if before.name != after.name else set()
    return changed | ({"expires_at"} if before.expires_at != after.expires_at else set())
