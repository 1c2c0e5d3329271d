"""What the elected poller says in the log of a change that names no owner."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from keystile.authority.polling import Poller
from keystile.changes import EVERY_ROLE, Change, PollMark
from keystile.ports import PolledEvents
from unit.listening import Listener

if TYPE_CHECKING:
    from keystile.authority.memory import ChangeMemory


@dataclass
class Around:
    """Everything a poller asks, answering as little as it can."""

    page: PolledEvents
    said: list[str] = field(default_factory=list)

    async def poll(self, _since: float | None) -> PolledEvents:
        """Tell the page."""
        return self.page

    async def announce(self, change: Change) -> None:
        """Keep whom it names."""
        self.said.append(change.owner_id)

    async def mark_polled(self, _mark: PollMark) -> None:
        """Take it."""

    async def owner(self, _owner_id: str) -> None:
        """Know nobody."""

    async def write_pending(self, _memory: ChangeMemory, _written: set[str]) -> None:
        """Have nothing to write."""

    async def prepare(self) -> bool:
        """Be ready."""
        return True


@pytest.mark.parametrize(("realm_wide", "said"), [(True, ["alice", EVERY_ROLE]), (False, ["alice"])])
async def test_change_that_names_no_owner_is_said_of_all_roles(*, realm_wide: bool, said: list[str]) -> None:
    """Groups and roles changed somewhere: verdicts that depend on them are to be read again, in every process."""
    listener = Listener()
    listener.hear(5, polled=PollMark(polled_at=listener.time.now().timestamp()))
    now = listener.time.now().timestamp()
    around: Any = Around(PolledEvents(owner_ids=frozenset({"alice"}), realm_wide=realm_wide, polled_at=now))
    poller = Poller(
        around, around, around, listener.memory, around, around, around, around, around, clock=listener.time.now
    )
    await poller.poll()
    assert around.said == said
