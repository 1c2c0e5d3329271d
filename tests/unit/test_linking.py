from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from keystile.authority.lifecycle import KeyRequest
from keystile.errors import CannotTellError, ChangeRefusedError
from keystile.restrictions import Policy

if TYPE_CHECKING:
    from unit.world import World

REQUEST = KeyRequest(owner="alice", name="laptop", issued_by="test", policy=Policy())


async def test_owner_is_linked_with_its_key(world: World) -> None:
    """Where the realm signs, whoever gets a key is made known to it under its own id."""
    linked: list[str] = []

    async def link(owner_id: str) -> None:
        linked.append(owner_id)

    issued = await replace(world.here.lifecycle, link=link).issue(REQUEST)
    assert linked == [issued.owner.id]


@pytest.mark.parametrize("error", [CannotTellError("away"), ChangeRefusedError("no such provider")])
async def test_key_is_issued_though_its_owner_cannot_be_linked(world: World, error: Exception) -> None:
    """The link is made again when it is missed: a key that is written already is never lost for it."""

    async def link(_owner_id: str) -> None:
        raise error

    issued = await replace(world.here.lifecycle, link=link).issue(REQUEST)
    assert (await world.verify(issued.key)).owner.username == "alice"
