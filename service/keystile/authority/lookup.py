"""The cold look-up: from a presented key to its owner and proved record, by one indexed query or the fallback."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from keystile.errors import KeyRefusedError, OwnerUnknownError, Reason
from keystile.policy import needs_roles

if TYPE_CHECKING:
    from keystile.authority.fallback import FallbackIndex
    from keystile.authority.matching import BcryptMatches
    from keystile.authority.proof import Proved, Prover
    from keystile.keys import ApiKey
    from keystile.peppers import Pepper, Peppers
    from keystile.policy import Rules
    from keystile.ports import Directory, IndexEntry
    from keystile.records import KeyRecord, Owner


@dataclass(frozen=True, slots=True)
class Found:
    """A proved record and its owner. *heal*: a look-up value its owner should get, "" if nothing is missing."""

    owner: Owner
    proved: Proved
    heal: str = ""


class Lookup:
    """Finds and proves keys in the directory; *index* is None where every record has its look-up value."""

    def __init__(
        self,
        directory: Directory,
        prover: Prover,
        peppers: Peppers,
        index: FallbackIndex | None,
        matches: BcryptMatches | None,
    ) -> None:
        self._directory = directory
        self._prover = prover
        self._peppers = peppers
        self._index = index
        self._matches = matches

    async def find(self, key: ApiKey) -> Found | None:
        """Return who holds *key* by one indexed query, or None; raises `KeyRefusedError` for a wrong secret."""
        return await (self._find_older(key) if key.key_id is None else self._find_current(key, key.key_id))

    async def find_unnamed(self, key: ApiKey, address: str) -> Found:
        """Return who holds *key* without a look-up value, or raise `KeyRefusedError`.

        Raises `CannotTellError` where nobody can say yet.
        """
        found = await self._find_unnamed(key, address)
        if found is None:
            await self._prover.decoy(key)
            raise KeyRefusedError(Reason.UNKNOWN, key_id=key.key_id)
        return found

    async def with_roles(self, found: Found, rules: Rules) -> Found:
        """Return *found* with what its owner holds, if what its key holds depends on that."""
        return replace(found, owner=await with_roles(self._directory, found.owner, found.proved.record, rules))

    async def _find_current(self, key: ApiKey, key_id: str) -> Found | None:
        owners = await self._directory.find(key_id)
        if not owners:
            return None
        record = only_record(owners, key_id)
        return None if record is None else Found(owners[0], await self._prover.prove(key, record))

    async def _find_older(self, key: ApiKey) -> Found | None:
        for pepper in self._peppers.accepted:
            for owner in await self._directory.find(older_lookup(key, pepper)):
                proved = await self._prover.prove_older(key, owner)
                if proved is not None:
                    stale = pepper is not self._peppers.current
                    return Found(owner, proved, older_lookup(key, self._peppers.current) if stale else "")
        return None

    async def _find_unnamed(self, key: ApiKey, address: str) -> Found | None:
        found: Found | None = None
        for entry in await self._candidates(key, address):
            owner = await self._directory.owner(entry.owner_id)
            holder = None if owner is None else await self._prove_candidate(key, owner, entry)
            if holder is not None and found is not None and holder.owner.id != found.owner.id:
                raise KeyRefusedError(Reason.DUPLICATE, key_id=key.key_id)  # as with `only_record`
            found = found or holder
        return found

    async def _candidates(self, key: ApiKey, address: str) -> tuple[IndexEntry, ...]:
        if self._index is None or self._matches is None:
            return ()
        entries = await self._index.named(key)
        if entries or key.key_id is not None:
            return entries
        matched = await self._matches.match(key, address)
        return () if matched is None else (matched,)

    async def _prove_candidate(self, key: ApiKey, owner: Owner, entry: IndexEntry) -> Found | None:
        if key.key_id is None:
            proved = await self._prover.prove_older(key, owner)
            return None if proved is None else Found(owner, proved, older_lookup(key, self._peppers.current))
        record = owner.record(entry.key_id)
        if record is None or record.key_id != key.key_id:
            return None
        return Found(owner, await self._prover.prove(key, record), key.key_id)


async def with_roles(directory: Directory, owner: Owner, record: KeyRecord, rules: Rules) -> Owner:
    """Return *owner* with what it holds, if what that key of it holds depends on that; raises `KeyRefusedError`."""
    if not needs_roles(record, rules):
        return owner
    try:
        return replace(owner, roles=await directory.roles(owner.id))
    except OwnerUnknownError as error:  # gone since it was found
        raise KeyRefusedError(Reason.UNKNOWN, key_id=record.key_id, owner=owner.username) from error


def older_lookup(key: ApiKey, pepper: Pepper) -> str:
    """Return the look-up value of a key that has no id in it: nobody without the key can derive it."""
    return "older-" + pepper.lookup.digest(key.reveal().encode()).hex()


def only_record(owners: tuple[Owner, ...], key_id: str) -> KeyRecord | None:
    """Return the one record of that id; None if its owner holds none.

    Raises `KeyRefusedError` where two owners hold it (somebody copied a record: neither is believed) or where
    the record cannot be read.
    """
    if len(owners) > 1:
        raise KeyRefusedError(Reason.DUPLICATE, key_id=key_id)
    owner = owners[0]
    record = owner.record(key_id)
    if record is None and any(unreadable.key_id == key_id for unreadable in owner.unreadable):
        raise KeyRefusedError(Reason.UNREADABLE, key_id=key_id, owner=owner.username)
    return record
