"""Walking through every owner that holds keys, page by page, the *disabled* ones last or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from keystile.ports import Directory
    from keystile.records import KeyRecord, Owner


async def owner_pages(directory: Directory, *, disabled: bool = True) -> AsyncIterator[tuple[Owner, ...]]:
    """Yield each page of owners, without those that the page before had. Raises `CannotTellError`."""
    for enabled in (True, False) if disabled else (True,):
        after, more, seen = "", True, frozenset[str]()
        while more:
            owners, after = await directory.owners(after, enabled=enabled)
            yield tuple(owner for owner in owners if owner.id not in seen)
            seen, more = frozenset(owner.id for owner in owners), bool(after)


async def every_key(directory: Directory, *, disabled: bool = True) -> AsyncIterator[tuple[Owner, KeyRecord]]:
    """Yield every key with its owner; one may come twice where owners are deleted meanwhile."""
    async for page in owner_pages(directory, disabled=disabled):
        for owner in page:
            for record in owner.records:
                yield owner, record
