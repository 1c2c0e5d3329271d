"""The death of keys: said in the change log, written into the directory, kept in the journal while either is away."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import structlog

from keystile.changes import ALL_GENERATIONS, FLOOR_TTL, Change
from keystile.errors import CannotTellError, ChangeRefusedError, KeyUnknownError, OwnerUnknownError
from keystile.ports import AuditEvent
from keystile.records import RevocationReason

if TYPE_CHECKING:
    from keystile.authority.auditing import Auditor
    from keystile.authority.follower import Follower
    from keystile.authority.memory import ChangeMemory
    from keystile.changes import Floor
    from keystile.ports import Clock, Directory, Journal
    from keystile.records import KeyRecord, Owner

_log = structlog.get_logger(__name__)
_AGAIN = 0.5  # seconds between attempts
_LOOK = 0.2  # seconds between looks into the journal: what it holds is obeyed on this machine within 1 s
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class RevokedKey:
    """A revoked key. *held* is None while the directory is away: the key is refused, its record does not say so yet."""

    key_id: str
    held: tuple[Owner, KeyRecord] | None


@dataclass(frozen=True, kw_only=True)
class Deaths:
    """The one place where a key dies."""

    directory: Directory
    follower: Follower
    journal: Journal
    auditor: Auditor
    clock: Clock
    said: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)

    async def revoke(self, key_id: str, *, reason: RevocationReason, revoked_by: str) -> RevokedKey:
        """Revoke a key for ever: said first, so that it bites at once, then written. Twice is as good as once.

        While the directory is away the word stands alone, in the log, in the journal or in both, and is written later.
        Raises `KeyUnknownError`, or `CannotTellError` if the death could be neither said, nor written, nor kept.
        """
        if not _KEY_ID.fullmatch(key_id):
            raise KeyUnknownError("this is no key id")
        try:
            holders = await self.holders(key_id)
        except CannotTellError:
            death = self._death(key_id, None, reason, pending=True)
            await self._accept(death, said=await self._try_to_say(death))
            self._audit("pending", key_id, None, reason, revoked_by)
            return RevokedKey(key_id, None)
        if not holders:
            raise KeyUnknownError(f"there is no key with the id {key_id}")
        revoked = [await self._revoke(owner, key_id, reason, revoked_by) for owner in holders]
        return revoked[0]

    async def affirm(self, owner: Owner, record: KeyRecord) -> None:
        """Say the death of a record that is written already. Raises `CannotTellError`."""
        reason = record.revoked_reason or RevocationReason.UNSPECIFIED
        await self.follower.announce(self._death(record.key_id, owner, reason))

    async def write_pending(self, memory: ChangeMemory, written: set[str]) -> None:
        """Write the deaths that were said and not written; *written* remembers which are.

        Raises `CannotTellError` while the directory is still away.
        """
        for death in memory.pending():
            if death.key_id in written:
                continue
            await self._try_to_write_pending(death)  # one that is refused must not stand before the others
            written.add(death.key_id)

    async def keep_writing(self, memory: ChangeMemory) -> None:
        """Write what is pending, again and again, until cancelled."""
        written: set[str] = set()
        while True:
            try:
                await self.write_pending(memory, written)
            except CannotTellError as error:
                _log.warning("a death cannot be written yet", why=str(error))
            await asyncio.sleep(_AGAIN)

    async def keep_obeying(self, memory: ChangeMemory) -> None:
        """Obey the journal, again and again, until cancelled."""
        while True:
            try:
                await self.obey_journal(memory)
            except CannotTellError as error:
                _log.warning("the journal cannot be read", why=str(error))
            await asyncio.sleep(_LOOK)

    async def obey_journal(self, memory: ChangeMemory) -> None:
        """Refuse, in this process, every key whose death the journal keeps. Raises `CannotTellError`."""
        for death in await self.journal.entries():
            memory.obey(death)

    async def keep_finishing(self) -> None:
        """Write and say what the journal keeps, again and again, until cancelled."""
        while True:
            try:
                await self.finish_journal()
            except CannotTellError as error:
                _log.info("what the journal keeps cannot be finished yet", why=str(error))
            await asyncio.sleep(_AGAIN)

    async def finish_journal(self) -> None:
        """Write and say what the journal keeps, each as far as it goes.

        Raises `CannotTellError` if something is left because directory or log are away.
        """
        left: CannotTellError | None = None
        with self.journal.turn() as ours:
            for death in await self.journal.entries() if ours else ():
                try:
                    await self._finish(death)
                except CannotTellError as error:  # one that waits must not stand before the others
                    left = error
        if left is not None:
            raise left

    async def _finish(self, death: Change) -> None:
        written = replace(death, pending=False)
        if death.pending:
            await self._say_once(death)  # wherever the log is heard it bites, written or not
            if not await self._try_to_write_pending(death):
                return
            await self.journal.add(written)
        await self.follower.announce(written)
        await self.journal.remove(written)

    async def _say_once(self, death: Change) -> None:
        if death.key_id not in self.said and await self._try_to_say(death):
            self.said.add(death.key_id)

    async def _try_to_write_pending(self, death: Change) -> bool:
        """Write *death*; False if the directory will not take it, which is told once. Raises `CannotTellError`."""
        try:
            await self._write_pending(death)
        except OwnerUnknownError:
            return True  # whoever held it is gone
        except ChangeRefusedError as error:
            if death.key_id not in self.refused:
                self.refused.add(death.key_id)
                self.auditor.alert(f"the death of key {death.key_id} cannot be written: {error}")
            return False
        return True

    async def restore(self, floor: Floor, owner: Owner) -> None:
        """Write again the death that *floor* remembers: somebody saved a page from before it."""
        if not floor.dead:
            return
        death = Change(key_id=floor.key_id, gen=floor.gen)
        _, changed = await self._write(owner.id, death)
        if changed:
            event = AuditEvent(event="change_undone", outcome="restored", key_id=floor.key_id, owner=owner.username)
            self.auditor.changed(event)

    async def holders(self, key_id: str) -> list[Owner]:
        """Return who holds that key: one owner, unless somebody copied a record. May page through the store."""
        found = [owner for owner in await self.directory.find(key_id) if _holds(owner, key_id)]
        after, more = "", not found
        while more:  # older keys have no look-up value by their id
            owners, after = await self.directory.owners(after)
            found += [owner for owner in owners if _holds(owner, key_id)]
            more = bool(after) and not found
        return found

    async def _revoke(self, owner: Owner, key_id: str, reason: RevocationReason, revoked_by: str) -> RevokedKey:
        record = owner.record(key_id)
        if record is not None and record.revoked_at is not None:
            await self._say_written(
                self._death(key_id, owner, record.revoked_reason or reason)
            )  # perhaps not heard yet
            return RevokedKey(key_id, (owner, record))
        # Pending until it is written: whatever ends this process in between, another one finishes it.
        death = self._death(key_id, owner, reason, pending=True)
        said = await self._try_to_say(death)
        if record is None:
            raise ChangeRefusedError(f"key {key_id} is refused from now on, but its record cannot be read")
        try:
            current, _ = await self._write(owner.id, death)
        except CannotTellError:
            await self._accept(death, said=said)
            self._audit("pending", key_id, owner, reason, revoked_by)
            return RevokedKey(key_id, None)
        await self._say_written(replace(death, pending=False))
        self._audit("done", key_id, owner, reason, revoked_by)
        tombstone = current.record(key_id)
        return RevokedKey(key_id, None if tombstone is None else (current, tombstone))

    async def _accept(self, death: Change, *, said: bool) -> None:
        """Keep a death that could not be written; it is accepted if the log took it, or the journal does."""
        try:
            await self.journal.add(death)
        except CannotTellError as error:
            if not said:
                raise
            self.auditor.alert(f"the death of key {death.key_id} stands in the change log alone: {error}")

    async def _say_written(self, death: Change) -> None:
        if await self._try_to_say(death):
            return
        try:
            await self.journal.add(death)  # whoever follows it says it when the log answers again
        except CannotTellError as error:
            self.auditor.alert(f"the death of key {death.key_id} is written, and nobody could be told: {error}")

    async def _write_pending(self, death: Change) -> None:
        holders = await self.holders(death.key_id)
        for owner in holders:
            _, changed = await self._write(owner.id, death)
            if changed:
                self._audit("done", death.key_id, owner, _reason(death), None)
        if not holders:  # it was revoked unseen: perhaps a slip of the pen
            self._audit("no_such_key", death.key_id, None, _reason(death), None)

    async def _write(self, owner_id: str, death: Change) -> tuple[Owner, bool]:
        """Write *death*; return the owner as stored, and whether it was not written before."""
        now, changed = self.clock(), False

        def change(current: Owner) -> Owner:
            nonlocal changed
            after = current.with_death(death.key_id, now, _reason(death), death.gen)
            changed = after is not current
            return after

        return await self.directory.update(owner_id, change, urgent=True), changed

    async def _try_to_say(self, change: Change) -> bool:
        try:
            await self.follower.announce(change)
        except CannotTellError:
            return False
        return True

    def _death(self, key_id: str, owner: Owner | None, reason: RevocationReason, *, pending: bool = False) -> Change:
        record = owner.record(key_id) if owner is not None else None
        now = self.clock().timestamp()
        expires_at = record.expires_at.timestamp() if record is not None and record.expires_at else 0.0
        return Change(
            key_id=key_id,
            owner_id=owner.id if owner is not None else "",
            gen=_death_gen(record),
            kills_below=ALL_GENERATIONS,
            dead=True,
            floor_until=max(now + FLOOR_TTL, expires_at),
            pending=pending,
            reason=reason.value,
            at=now,
        )

    def _audit(self, outcome: str, key_id: str, owner: Owner | None, reason: RevocationReason, by: str | None) -> None:
        self.auditor.changed(
            AuditEvent(
                event="key_revoked",
                outcome=outcome,
                key_id=key_id,
                owner=owner.username if owner is not None else None,
                reason=reason.value,
                detail={"by": by} if by else {},
            )
        )


def _reason(death: Change) -> RevocationReason:
    return RevocationReason(death.reason) if death.reason else RevocationReason.UNSPECIFIED


def _death_gen(record: KeyRecord | None) -> int:
    if record is None:
        return 0
    return record.gen if record.revoked_at is not None else record.gen + 1


def _holds(owner: Owner, key_id: str) -> bool:
    return owner.record(key_id) is not None or any(kept.key_id == key_id for kept in owner.unreadable)
