"""The fallback index inside one process."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystile.ports import IndexEntry, IndexState


class InProcessIndexStore:
    """An `IndexStore` that is gone with the process."""

    def __init__(self) -> None:
        self._state: IndexState | None = None
        # Of each generation, the entries of each name; a dictionary is an ordered set.
        self._generations: defaultdict[str, defaultdict[bytes | None, dict[IndexEntry, None]]]
        self._generations = defaultdict(lambda: defaultdict(dict))

    async def state(self) -> IndexState | None:
        """Return the last finished crawl."""
        return self._state

    async def finish(self, state: IndexState) -> None:
        """Make *state* the finished crawl, and drop other generations."""
        self._state = state
        for generation in self._generations.keys() - {state.generation}:
            del self._generations[generation]

    async def add(self, generation: str, entries: Sequence[IndexEntry]) -> None:
        """Add entries."""
        for entry in entries:
            self._generations[generation][entry.name][entry] = None

    async def named(self, generation: str, names: Sequence[bytes]) -> tuple[IndexEntry, ...]:
        """Return the entries of any of these names."""
        return tuple(entry for name in dict.fromkeys(names) for entry in self._generations[generation][name])

    async def unnamed(self, generation: str, limit: int) -> tuple[IndexEntry, ...]:
        """Return up to *limit* entries without a name."""
        return tuple(islice(self._generations[generation][None], limit))
