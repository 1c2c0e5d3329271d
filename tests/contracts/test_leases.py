"""What every kind of lease promises."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from keystile.adapters.memory.leases import InProcessLeases
from keystile.adapters.redis.leases import RedisLeases
from keystile.adapters.sqlite.database import SqliteDatabase
from keystile.adapters.sqlite.leases import SqliteLeases
from keystile.ports import Leases

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

Pair = tuple[Leases, Leases]
LONG, SHORT = 60.0, 0.05


@pytest.fixture
async def databases(tmp_path: Path) -> AsyncIterator[tuple[SqliteDatabase, SqliteDatabase]]:
    """Open one file as two processes do."""
    here, there = SqliteDatabase(tmp_path / "keystile.db"), SqliteDatabase(tmp_path / "keystile.db")
    for database in (here, there):
        await database.open()
    yield here, there
    for database in (here, there):
        await database.close()


@pytest.fixture(params=["in_process", "redis", "sqlite"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """Return the leases of one deployment as two processes have them."""
    if request.param == "in_process":
        leases = InProcessLeases()
        return leases, leases
    if request.param == "sqlite":
        here, there = request.getfixturevalue("databases")
        return SqliteLeases(here), SqliteLeases(there)
    link = request.getfixturevalue("link")
    return RedisLeases(link), RedisLeases(link)


async def test_lease_has_one_holder(pair: Pair) -> None:
    """Of many who try at once, one gets it; another lease is another matter."""
    here, there = pair
    tokens = await asyncio.gather(*(leases.take("poller", LONG) for leases in (here, there) * 10))
    assert len([token for token in tokens if token is not None]) == 1
    assert await there.take("crawler", LONG) is not None


async def test_released_lease_is_free(pair: Pair) -> None:
    """Who gives a lease back frees it for others at once."""
    here, there = pair
    token = await here.take("poller", LONG)
    assert token is not None
    await here.release("poller", token)
    assert await there.take("poller", LONG) is not None


async def test_lease_ends_by_itself(pair: Pair) -> None:
    """A lease that is not renewed is free after its time, and then no longer its first holder's."""
    here, there = pair
    token = await here.take("poller", SHORT)
    assert token is not None
    async with asyncio.timeout(5):
        while await there.take("poller", LONG) is None:  # noqa: ASYNC110 - nothing but the clock frees it
            await asyncio.sleep(0)
    assert not await here.renew("poller", token, LONG)


async def test_renewed_lease_is_kept(pair: Pair) -> None:
    """A renewal counts from now on: the lease outlives its first time."""
    here, there = pair
    token = await here.take("poller", SHORT)
    assert token is not None
    assert await here.renew("poller", token, LONG)
    loop = asyncio.get_running_loop()
    end = loop.time() + 2 * SHORT
    while loop.time() < end:
        assert await there.take("poller", LONG) is None
        await asyncio.sleep(0)


async def test_lease_of_another_is_left_alone(pair: Pair) -> None:
    """Without its token a lease can be neither renewed nor released."""
    here, there = pair
    assert await here.take("poller", LONG) is not None
    assert not await there.renew("poller", "made up", LONG)
    await there.release("poller", "made up")
    assert await there.take("poller", LONG) is None


async def test_lease_never_taken_cannot_be_renewed(pair: Pair) -> None:
    """There is nothing to keep where nothing was taken."""
    assert not await pair[0].renew("poller", "token", LONG)
