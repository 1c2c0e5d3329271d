"""Mending records in passing: look-up values, digests under the current pepper, and changes somebody undid."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keystile.authority.chores import Chores
    from keystile.authority.lookup import Found
    from keystile.authority.stops import Stops
    from keystile.changes import Floor
    from keystile.ports import Directory
    from keystile.records import KeyRecord, Owner


class Mender:
    """Queues the writes that bring a record back to what it should be; nobody waits for them."""

    def __init__(self, directory: Directory, chores: Chores, stops: Stops) -> None:
        self._directory = directory
        self._chores = chores
        self._stops = stops

    def heal(self, found: Found) -> None:
        """Give a found record the look-up value or the digest it lacks."""
        if not found.heal and not found.proved.refreshed:
            return
        record = found.proved.record

        def change(owner: Owner) -> Owner:
            return _healed(owner, record, found.heal)

        self._chores.add(("heal", record.key_id), lambda: self._directory.update(found.owner.id, change))

    def affirm(self, owner: Owner, record: KeyRecord) -> None:
        """Say the death of a record that the change log does not know."""
        self._chores.add(("affirm", record.key_id), lambda: self._stops.affirm(owner, record))

    def reassert(self, floor: Floor, owner: Owner) -> None:
        """Write again the death that *floor* remembers."""
        self._chores.add(("reassert", floor.key_id), lambda: self._stops.restore(floor, owner))


def _healed(owner: Owner, proved: KeyRecord, lookup: str) -> Owner:
    current = owner.record(proved.key_id)
    if current is None:
        return owner  # it went while we looked
    if lookup:
        owner = replace(owner, lookups=owner.lookups | {lookup})
    if current.is_older or current.gen != proved.gen or current.revoked_at is not None:
        return owner
    return owner.with_record(replace(current, digest=proved.digest, digest_pepper=proved.digest_pepper))
