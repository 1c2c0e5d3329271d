"""Stopping keys: said in the change log, written into the directory, kept in the journal while either is away."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import structlog

from keystile.authority.purging import Purged
from keystile.authority.walking import owner_pages
from keystile.changes import ALL_GENERATIONS, FLOOR_TTL, Change
from keystile.errors import CannotTellError, ChangeRefusedError, KeyUnknownError, OwnerUnknownError
from keystile.ports import AuditEvent
from keystile.records import RevocationReason, Status, hidden_actor

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
class StoppedKey:
    """A stopped key. *held* is None while the directory is away: the key is refused, its record does not say so yet."""

    key_id: str
    held: tuple[Owner, KeyRecord] | None


@dataclass(frozen=True, kw_only=True)
class Stops:
    """The one place where a key is stopped: revoked for ever, or suspended until it is resumed."""

    directory: Directory
    follower: Follower
    journal: Journal
    auditor: Auditor
    clock: Clock
    said: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)

    async def revoke(self, key_id: str, *, reason: RevocationReason, revoked_by: str) -> StoppedKey:
        """Revoke a key for ever: said first, so that it bites at once, then written. Twice is as good as once.

        While the directory is away the word stands alone, in the log, in the journal or in both, and is written later.
        Raises `KeyUnknownError`, or `CannotTellError` if the stop could be neither said, nor written, nor kept.
        """
        return await self._stop(key_id, reason, revoked_by)

    async def suspend(self, key_id: str, *, suspended_by: str) -> StoppedKey:
        """Suspend a key, as `revoke` does; raises `ChangeRefusedError` if it is revoked."""
        return await self._stop(key_id, None, suspended_by)

    async def affirm(self, owner: Owner, record: KeyRecord) -> None:
        """Say the death of a record that is written already. Raises `CannotTellError`."""
        reason = record.revoked_reason or RevocationReason.UNSPECIFIED
        await self.follower.announce(self._change(record.key_id, owner, reason, ""))

    async def write_pending(self, memory: ChangeMemory, written: set[tuple[str, float]]) -> None:
        """Write the stops that were said and not written; *written* remembers which are.

        Raises `CannotTellError` while the directory is still away.
        """
        for stop in memory.pending():
            if (stop.key_id, stop.at) in written:
                continue
            await self._try_to_write_pending(stop)  # one that is refused must not stand before the others
            written.add((stop.key_id, stop.at))

    async def keep_writing(self, memory: ChangeMemory) -> None:
        """Write what is pending, again and again, until cancelled."""
        written: set[tuple[str, float]] = set()
        while True:
            try:
                await self.write_pending(memory, written)
            except CannotTellError as error:
                _log.warning("a stop cannot be written yet", why=str(error))
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
        """Refuse, in this process, every key whose stop the journal keeps. Raises `CannotTellError`."""
        for stop in await self.journal.entries():
            memory.obey(stop)

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
            for stop in await self.journal.entries() if ours else ():
                try:
                    await self._finish(stop)
                except CannotTellError as error:  # one that waits must not stand before the others
                    left = error
        if left is not None:
            raise left

    async def restore(self, floor: Floor, owner: Owner) -> None:
        """Write again the death or suspension that *floor* remembers: somebody saved a page from before it.

        What else was undone cannot be written again: the key stays refused until it is changed anew.
        """
        if not floor.dead and not floor.suspends:
            return
        stop = Change(key_id=floor.key_id, gen=floor.gen, dead=floor.dead, suspends=floor.suspends)
        _, changed = await self._write(owner.id, stop)
        if changed:
            event = AuditEvent(event="change_undone", outcome="restored", key_id=floor.key_id, owner=owner.username)
            self.auditor.changed(event)

    async def holders(self, key_id: str, *, thorough: bool = True) -> list[Owner]:
        """Return who holds that key: one owner, unless somebody copied a record. *thorough*: page through the store."""
        if not _KEY_ID.fullmatch(key_id):
            raise KeyUnknownError("this is no key id")
        found = [owner for owner in await self.directory.find(key_id) if _holds(owner, key_id)]
        if found or not thorough:
            return found
        async for owners in owner_pages(self.directory, disabled=False):  # older keys have no look-up value by their id
            found = [owner for owner in owners if _holds(owner, key_id)]
            if found:
                break
        return found

    async def _finish(self, stop: Change) -> None:
        written = replace(stop, pending=False)
        if stop.pending:
            await self._say_once(stop)  # wherever the log is heard it bites, written or not
            holder = await self._try_to_write_pending(stop)
            if holder is None:
                return
            written = self._written(stop, holder)
            await self.journal.add(written)
        await self.follower.announce(written)
        await self.journal.remove(written)

    async def _say_once(self, stop: Change) -> None:
        if stop.key_id not in self.said and await self._try_to_say(stop):
            self.said.add(stop.key_id)

    async def _try_to_write_pending(self, stop: Change) -> tuple[Owner, ...] | None:
        """Write *stop* and return who holds the key; None if the directory will not take it, which is told once.

        Raises `CannotTellError`.
        """
        try:
            return await self._write_pending(stop)
        except OwnerUnknownError:
            return ()  # whoever held it is gone
        except ChangeRefusedError as error:
            if stop.key_id not in self.refused:
                self.refused.add(stop.key_id)
                self.auditor.alert(f"the stop of key {stop.key_id} cannot be written: {error}")
            return None

    async def _stop(self, key_id: str, reason: RevocationReason | None, by: str) -> StoppedKey:
        if not _KEY_ID.fullmatch(key_id):
            raise KeyUnknownError("this is no key id")
        try:
            holders = await self.holders(key_id)
        except CannotTellError:
            stop = self._change(key_id, None, reason, by, pending=True)
            await self._accept(stop, said=await self._try_to_say(stop))
            self._audit("pending", stop, None, by)
            return StoppedKey(key_id, None)
        if not holders:
            raise KeyUnknownError(f"there is no key with the id {key_id}")
        stopped = [await self._stop_held(owner, key_id, reason, by) for owner in holders]
        return stopped[0]

    async def _stop_held(self, owner: Owner, key_id: str, reason: RevocationReason | None, by: str) -> StoppedKey:
        record = owner.record(key_id)
        if record is not None and record.revoked_at is not None:
            if reason is None:
                raise ChangeRefusedError(f"key {key_id} is revoked, and stays so")
            await self.say_written(
                self._change(key_id, owner, record.revoked_reason or reason, by)
            )  # perhaps not heard yet
            return StoppedKey(key_id, (owner, record))
        # Pending until it is written: whatever ends this process in between, another one finishes it.
        stop = self._change(key_id, owner, reason, by, pending=True)
        said = await self._try_to_say(stop)
        if record is None:
            raise ChangeRefusedError(f"key {key_id} is refused from now on, but its record cannot be read")
        try:
            current, _ = await self._write(owner.id, stop, by)
        except CannotTellError:
            await self._accept(stop, said=said)
            self._audit("pending", stop, owner, by)
            return StoppedKey(key_id, None)
        await self.say_written(self._written(stop, (current,)))
        self._audit("done", stop, owner, by)
        kept = current.record(key_id)
        return StoppedKey(key_id, None if kept is None else (current, kept))

    async def _accept(self, stop: Change, *, said: bool) -> None:
        """Keep a stop that could not be written; it is accepted if the log took it, or the journal does."""
        try:
            await self._keep(stop)
        except CannotTellError as error:
            if not said:
                raise
            self.auditor.alert(f"the stop of key {stop.key_id} stands in the change log alone: {error}")

    async def say_written(self, stop: Change) -> None:
        """Say what is written already; while the log is away the journal keeps it to be said later. Never raises."""
        if await self._try_to_say(stop):
            return
        try:
            await self._keep(stop)  # whoever follows it says it when the log answers again
        except CannotTellError as error:
            self.auditor.alert(f"a change of key {stop.key_id} is written, and nobody could be told: {error}")

    async def _keep(self, stop: Change) -> None:
        for kept in await self.journal.entries() if not stop.dead else ():
            if kept.key_id != stop.key_id:
                continue
            if kept.dead:
                return  # a death is kept there already, and must not be replaced by less
            if kept.suspends and kept.reason != stop.reason:
                stop = replace(stop, reason="")  # by two: an owner must not become the one who did it alone
        await self.journal.add(stop)

    async def _write_pending(self, stop: Change) -> tuple[Owner, ...]:
        holders = await self.holders(stop.key_id)
        current: list[Owner] = []
        for owner in holders:
            after, changed = await self._write(owner.id, stop)
            current.append(after)
            if changed:
                self._audit("done", stop, owner, None)
        if not holders:  # it was stopped unseen: perhaps a slip of the pen
            self._audit("no_such_key", stop, None, None)
        return tuple(current)

    async def _write(self, owner_id: str, stop: Change, by: str = "") -> tuple[Owner, bool]:
        """Write *stop*; return the owner as stored, and whether it was not written before."""
        now, changed, dropped = self.clock(), False, Purged()

        def change(current: Owner) -> Owner:
            nonlocal changed, dropped
            if stop.suspends:
                after = current.with_suspension(stop.key_id, stop.gen, by or stop.reason)
            else:
                after = current.with_death(stop.key_id, now, _reason(stop), stop.gen)
            changed, dropped = after is not current, Purged.between(current, after) or dropped
            return after

        owner = await self.directory.update(owner_id, change, urgent=True)
        for event in dropped.to_events(owner, by):
            if event.key_id != stop.key_id:  # its own death is told elsewhere
                self.auditor.changed(event)
        return owner, changed

    async def _try_to_say(self, change: Change) -> bool:
        try:
            await self.follower.announce(change)
        except CannotTellError:
            return False
        return True

    def _change(
        self, key_id: str, owner: Owner | None, reason: RevocationReason | None, by: str, *, pending: bool = False
    ) -> Change:
        """Return a stop, not yet written where *pending*: until it is, no generation of the key counts."""
        record = owner.record(key_id) if owner is not None else None
        now = self.clock().timestamp()
        expires_at = record.expires_at.timestamp() if record is not None and record.expires_at else 0.0
        return Change(
            key_id=key_id,
            owner_id=owner.id if owner is not None else "",
            gen=_stopped_gen(record),
            kills_below=ALL_GENERATIONS,
            dead=reason is not None,
            suspends=reason is None,
            floor_until=max(now + FLOOR_TTL, expires_at) if reason is not None or not pending else 0.0,
            pending=pending,
            reason=reason.value if reason is not None else hidden_actor(by),
            at=now,
        )

    def _written(self, stop: Change, holders: tuple[Owner, ...]) -> Change:
        """Return what to say of a stop once it is written: of a suspension, what the record has become."""
        written = replace(stop, pending=False)
        records = [record for owner in holders if (record := owner.record(stop.key_id)) is not None]
        if not stop.suspends:
            return written
        # Whatever became of the key meanwhile, this says no more than that: not every generation any longer.
        gen = max((record.gen for record in records), default=1)
        suspended = any(record.status is Status.SUSPENDED for record in records)
        until = self.clock().timestamp() + FLOOR_TTL
        return replace(written, gen=gen, kills_below=gen if suspended else 0, suspends=suspended, floor_until=until)

    def _audit(self, outcome: str, stop: Change, owner: Owner | None, by: str | None) -> None:
        record = owner.record(stop.key_id) if owner is not None else None
        self.auditor.changed(
            AuditEvent(
                event="key_suspended" if stop.suspends else "key_revoked",
                outcome=outcome,
                key_id=stop.key_id,
                owner=owner.username if owner is not None else None,
                tenant=(record.policy.tenant or None) if record is not None else None,
                reason=(stop.reason or None) if stop.dead else None,
                detail={"by": by} if by else {},
            )
        )


def _reason(stop: Change) -> RevocationReason:
    return RevocationReason(stop.reason) if stop.reason else RevocationReason.UNSPECIFIED  # of a death alone


def _stopped_gen(record: KeyRecord | None) -> int:
    if record is None:
        return 0
    return record.gen + 1 if record.status is Status.ACTIVE else record.gen


def _holds(owner: Owner, key_id: str) -> bool:
    return owner.record(key_id) is not None or any(kept.key_id == key_id for kept in owner.unreadable)
