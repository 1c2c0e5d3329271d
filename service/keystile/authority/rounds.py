"""Rounds: every few hours one process of all walks through the owners and does what time alone makes due."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import structlog

from keystile.authority.walking import owner_pages
from keystile.errors import CannotTellError, KeystileError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from keystile.authority.census import Census
    from keystile.ports import Directory, Leases, Ticks
    from keystile.records import Owner

_log = structlog.get_logger(__name__)
FIRST = 600.0  # seconds from the start of a process: others come first
AGAIN = 600.0  # seconds until it looks again whether a round is due
EVERY = 6 * 3600.0
MOST_WRITES = 1_000  # of one visitor in one round; the rest is for the next
_LEASE = "rounds"


class Visitor(Protocol):
    """Looks at one owner after the other."""

    async def visit(self, owner: Owner) -> int:
        """Do what is due for that owner; return how many writes that took."""
        ...


class Rounds:
    """Walks at half speed: after each page it rests for as long as the page took."""

    def __init__(
        self,
        directory: Directory,
        leases: Leases,
        visitors: Sequence[Visitor],
        census: Census,
        *,
        ticks: Ticks,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._directory = directory
        self._leases = leases
        self._visitors = visitors
        self._census = census
        self._ticks = ticks
        self._sleep = sleep

    async def run(self) -> None:
        """Make rounds until cancelled."""
        await self._sleep(FIRST)
        while True:
            try:
                await self.make()
            except CannotTellError as error:
                _log.warning("a round of all owners is put off", why=str(error))
            await self._sleep(AGAIN)

    async def make(self) -> bool:
        """Make a round if one is due, which is told by the lease: nobody gives it back. Raises `CannotTellError`."""
        token = await self._leases.take(_LEASE, EVERY)
        if token is None:
            return False
        try:
            await self._walk()
        except CannotTellError:
            await self._leases.release(_LEASE, token)  # it was none
            raise
        return True

    async def _walk(self) -> None:
        left = dict.fromkeys(self._visitors, MOST_WRITES)
        began = self._ticks()
        self._census.begin()
        async for owners in owner_pages(self._directory):
            self._census.add(owners)
            for owner in owners:
                for visitor in self._visitors:
                    if left[visitor] > 0:
                        left[visitor] -= await _visit(visitor, owner)
            await self._sleep(self._ticks() - began)
            began = self._ticks()
        self._census.end()


async def _visit(visitor: Visitor, owner: Owner) -> int:
    try:
        return await visitor.visit(owner)
    except CannotTellError:
        raise
    except KeystileError as error:  # one odd owner must not stand before the others
        _log.warning("an owner is passed over", owner_id=owner.id, why=str(error))
        return 1
