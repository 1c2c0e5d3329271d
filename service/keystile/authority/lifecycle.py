"""The life of a key: issue, list, show; `Stops` has its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from keystile.authority.walking import every_key
from keystile.changes import Change
from keystile.claims import check_claims
from keystile.delegation import check_delegation
from keystile.errors import (
    CannotTellError,
    ChangeRefusedError,
    KeyUnknownError,
    OwnerUnknownError,
    PolicyRefusedError,
    RequestReusedError,
    TooManyKeysError,
)
from keystile.keys import holds_credential
from keystile.network import check_policy
from keystile.policy import RESERVED_SCOPES, may_be_listed
from keystile.ports import AuditEvent
from keystile.records import KeyRecord, RevocationReason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from datetime import datetime

    from keystile.authority.auditing import Auditor
    from keystile.authority.follower import Follower
    from keystile.authority.proof import Prover
    from keystile.authority.stops import StoppedKey, Stops
    from keystile.keys import ApiKey, Environment, KeyFormat
    from keystile.policy import Rules
    from keystile.ports import Clock, Directory
    from keystile.records import Owner, RequestTag
    from keystile.restrictions import Policy

_log = structlog.get_logger(__name__)
MAX_NAME = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRequest:
    """What a new key should be. *owner* is a username; *issued_by* says who asked; *tag* knows the request again."""

    owner: str
    name: str
    issued_by: str
    environment: Environment = "live"
    expires_at: datetime | None = None
    policy: Policy
    tag: RequestTag | None = None


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key, the only moment its text exists here, with its record and owner."""

    key: ApiKey
    record: KeyRecord
    owner: Owner


@dataclass(frozen=True, kw_only=True)
class Lifecycle:
    """Changes keys in the directory and says so in the change log.

    *link* makes an owner known to whoever signs in its name; None where that is nobody but ourselves.
    """

    directory: Directory
    follower: Follower
    stops: Stops
    format: KeyFormat
    prover: Prover
    auditor: Auditor
    rules: Rules
    clock: Clock
    max_keys_per_owner: int
    link: Callable[[str], Awaitable[None]] | None = None

    async def issue(self, request: KeyRequest) -> IssuedKey:
        """Issue a key, or raise a `ChangeRefusedError`; nothing is kept unless it is all kept.

        A request that was done already raises a `RequestReusedError`.
        """
        owner = await self.admit(request)  # here too: a refusal is not worth a bcrypt
        key = self.format.generate(request.environment)
        secret = await self.prover.new_secret(key)
        record = self.new_record(
            key.tag,
            request,
            bcrypt=secret.bcrypt,
            digest=secret.digest,
            digest_pepper=secret.digest_pepper,
            stamp_pepper=secret.stamp_pepper,
        )
        return IssuedKey(key, record, await self.keep(owner, record, request))

    async def admit(self, request: KeyRequest) -> Owner:
        """Return the owner a new key is for, or raise a `ChangeRefusedError`: it may not have what is asked."""
        self._check(request)
        owner = await self.directory.adopt(request.owner)
        self._check_room(owner, request.tag)
        return owner

    async def keep(self, owner: Owner, record: KeyRecord, request: KeyRequest) -> Owner:
        """Write the record of a new key, say so, audit it, and return the owner as stored."""
        updated = await self.directory.update(owner.id, lambda current: self._with_new(current, record, request.tag))
        await self._say_issued(record, updated)
        await self._link(updated)
        named = {} if record.public_key is None else {"fingerprint": record.public_key.fingerprint}
        self.audit("key_issued", updated, record, request.issued_by, name=record.name, **named)
        return updated

    async def keys_of(self, username: str) -> tuple[Owner, tuple[KeyRecord, ...]]:
        """Return an owner and the records of its keys, oldest first."""
        owner = await self.directory.owner_named(username)
        if owner is None:
            raise OwnerUnknownError(f"there is no owner named {username!r}")
        return owner, owner.by_age()

    async def all_keys(self) -> list[tuple[Owner, KeyRecord]]:
        """Return every key of the enabled owners; pages through the whole store."""
        return [held async for held in every_key(self.directory, disabled=False)]

    async def show(self, key_id: str, *, thorough: bool = True) -> tuple[Owner, KeyRecord]:
        """Return a key's owner and record, or raise `KeyUnknownError`.

        If no look-up value names it, it is looked for at every owner, where *thorough*: in a large store for minutes.
        """
        for owner in await self.stops.holders(key_id, thorough=thorough):
            record = owner.record(key_id)
            if record is not None:
                return owner, record
        raise KeyUnknownError(f"there is no key with the id {key_id}")

    async def suspend(self, key_id: str, *, suspended_by: str) -> StoppedKey:
        """Suspend a key until it is resumed; see `Stops.suspend`."""
        return await self.stops.suspend(key_id, suspended_by=suspended_by)

    async def revoke(self, key_id: str, *, reason: RevocationReason, revoked_by: str) -> StoppedKey:
        """Revoke a key for ever; see `Stops.revoke`."""
        return await self.stops.revoke(key_id, reason=reason, revoked_by=revoked_by)

    def _check(self, request: KeyRequest) -> None:
        _check_no_credential({"owner": request.owner})  # before an error repeats it
        check_wanted(request.name, request.policy, self.rules)
        if request.expires_at is not None and request.expires_at <= self.clock():
            raise PolicyRefusedError("the key would have expired already", "expires")
        check_life(request.expires_at, self.rules, self.clock())

    def new_record(self, key_id: str, request: KeyRequest, **proof: Any) -> KeyRecord:  # noqa: ANN401 - fields of the record
        """Return the record of a new key as it is asked for; *proof* is what it keeps of a secret, or instead."""
        record = KeyRecord(
            key_id=key_id,
            gen=1,
            environment=request.environment,
            name=request.name,
            issued_by=request.issued_by,
            issued_at=self.clock().replace(microsecond=0),
            expires_at=request.expires_at and request.expires_at.replace(microsecond=0),
            policy=request.policy,
            **proof,
        ).with_request(request.tag, self.clock())
        record.check_room()  # here, before anything is asked of the store
        return record

    def _with_new(self, owner: Owner, record: KeyRecord, tag: RequestTag | None) -> Owner:
        if owner.record(record.key_id) is None:
            self._check_room(owner, tag)
            owner = owner.with_room_for_one(self.max_keys_per_owner, self.clock())
        return owner.with_record(record)

    def _check_room(self, owner: Owner, tag: RequestTag | None) -> None:
        check_not_done(owner.records, tag, self.clock())
        if owner.live(self.clock()) >= self.max_keys_per_owner:
            raise TooManyKeysError(
                f"{owner.username} holds {self.max_keys_per_owner} live keys already: revoke one first"
            )

    async def _say_issued(self, record: KeyRecord, owner: Owner) -> None:
        change = Change(key_id=record.key_id, owner_id=owner.id, gen=record.gen, at=self.clock().timestamp())
        try:
            await self.follower.announce(change)
        except CannotTellError as error:  # only a refusal remembered for a minute could stand against the key
            _log.warning("a new key could not be announced", key_id=record.key_id, why=str(error))

    async def _link(self, owner: Owner) -> None:
        """Link the owner where the realm signs its tokens."""
        if self.link is None:
            return
        try:
            await self.link(owner.id)
        except (CannotTellError, ChangeRefusedError) as error:  # the first exchange mends it
            _log.warning("an owner could not be linked", owner=owner.username, why=str(error))

    def audit(self, event: str, owner: Owner, record: KeyRecord, by: str, **detail: Any) -> None:  # noqa: ANN401 - JSON
        """Audit that a key was issued or changed."""
        self.auditor.changed(
            AuditEvent(
                event=event,
                outcome="done",
                key_id=record.key_id,
                owner=owner.username,
                tenant=record.policy.tenant or None,
                detail={"by": by, "gen": record.gen, **detail},
            )
        )


def check_not_done(records: Iterable[KeyRecord], tag: RequestTag | None, now: datetime) -> None:
    """Raise a `RequestReusedError` if one of *records* was made or changed by that request."""
    if tag is None:
        return
    for record in records:
        body = tag.seen_in(record, now)
        if body is not None:
            raise RequestReusedError(record.key_id, same=body == tag.body)


def check_wanted(name: str, policy: Policy, rules: Rules) -> None:
    """Raise a `ChangeRefusedError` unless a key may have that name and that policy in this deployment."""
    if not is_name(name):
        raise PolicyRefusedError(f"a key's name is 1 to {MAX_NAME} printable characters", "name")
    _check_no_credential({"name": name, **policy.to_document()})
    check_claims(policy)
    check_policy(policy)
    check_delegation(policy)
    if not rules.levels.knows(policy):
        raise PolicyRefusedError(f"the deployment does not know the level {policy.level}", "level")
    for audience in policy.audiences:
        if audience != rules.default_audience and not may_be_listed(audience, rules):
            raise PolicyRefusedError(f"the deployment does not allow the audience {audience}", "audiences")
    unknown = set(policy.scopes) - (rules.scopes or set(policy.scopes)) - RESERVED_SCOPES
    if unknown:
        raise PolicyRefusedError(f"the deployment does not know the scope {min(unknown)}", "scopes")


def is_name(text: str) -> bool:
    """Tell whether a key may have that name."""
    return 0 < len(text) <= MAX_NAME and text.isprintable()


def _check_no_credential(said: Mapping[str, Any]) -> None:
    """Raise a `PolicyRefusedError` if a credential stands in what would be kept, shown and audited."""
    for field, value in said.items():
        if holds_credential(str(value)):
            raise PolicyRefusedError(f"{field} holds what looks like a credential", field)


def check_life(expires_at: datetime | None, rules: Rules, now: datetime) -> None:
    """Raise a `PolicyRefusedError` if a key that lives until then (None: for ever) would live for too long."""
    longest = rules.longest_life
    if longest is not None and (expires_at is None or expires_at > now + longest):
        raise PolicyRefusedError(f"the deployment lets keys live for {longest.days} days at most", "expires")
