"""Requests that are sent twice (`Idempotency-Key`): known for a day, in every process, whatever they are about."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keystile.errors import RequestReusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from keystile.ports import Leases
    from keystile.records import RequestTag

_KNOWN_FOR = 86_400.0  # seconds


@dataclass(frozen=True, slots=True)
class Repeats:
    """Remembers requests as leases that nobody gives back; what they did is told by the record they did it to."""

    leases: Leases

    @asynccontextmanager
    async def once(self, tag: RequestTag | None) -> AsyncIterator[bool]:
        """Tell whether the block is the first to do that request; one that fails may be sent again.

        Raises a `RequestReusedError` if another request was sent under its name, or `CannotTellError`.
        """
        if tag is None:
            yield True
            return
        name = f"request:{tag.name}"
        same = await self.leases.take(f"{name}:{tag.body}", _KNOWN_FOR)
        if same is None:
            yield False
            return
        first = await self.leases.take(name, _KNOWN_FOR)
        if first is None:
            await self.leases.release(f"{name}:{tag.body}", same)
            raise RequestReusedError("", same=False)
        try:
            yield True
        except BaseException:
            await self.leases.release(f"{name}:{tag.body}", same)
            await self.leases.release(name, first)
            raise
