"""Every owner of a deployment, one after the other, with a bar for people who watch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystile.authority.walking import owner_pages
from keystile.cli.progress import progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from keystile.assembly import Deployment
    from keystile.records import Owner


async def every_owner(deployment: Deployment, *, quiet: bool) -> AsyncIterator[Owner]:
    """Yield each owner that holds keys. Raises `CannotTellError`."""
    with progress("looking at owners", None, quiet=quiet) as told:
        async for page in owner_pages(deployment.directory):
            for owner in page:
                yield owner
                told()
