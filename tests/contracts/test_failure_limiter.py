"""What every failure limiter promises."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from contracts.examples import PEPPERS
from keystile.adapters.memory.limiter import InProcessFailureLimiter
from keystile.adapters.redis.limiter import RedisFailureLimiter
from keystile.authority.visits import Visits
from keystile.clients import client_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

    from keystile.adapters.redis.link import RedisLink
    from keystile.ports import FailureLimiter
    from stack import RedisServer

FAILURES = 5
HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"


def on_redis(link: RedisLink, window: int = 60) -> RedisFailureLimiter:
    near = InProcessFailureLimiter(failures=FAILURES, window=window)
    return RedisFailureLimiter(link, PEPPERS.current.tag, near, client_of, failures=FAILURES, window=window)


@pytest.fixture(params=["in_process", "redis"])
def make(request: pytest.FixtureRequest) -> Callable[[int], FailureLimiter]:
    """Return what makes a limiter with a window of that many seconds."""
    if request.param == "in_process":
        return lambda window: InProcessFailureLimiter(failures=FAILURES, window=window)
    link = request.getfixturevalue("link")
    return lambda window: on_redis(link, window)


@pytest.fixture
def limiter(make: Callable[[int], FailureLimiter]) -> FailureLimiter:
    return make(60)


async def spend(limiter: FailureLimiter, address: str, failures: int = FAILURES) -> None:
    for number in range(failures):
        await limiter.fail(address, f"key-{number}")


async def test_address_may_fail_so_often(limiter: FailureLimiter) -> None:
    """Below the limit nobody waits; at it the address waits for less than the window; others do not."""
    assert await limiter.wait(HERE) == 0
    await spend(limiter, HERE, FAILURES - 1)
    assert await limiter.wait(HERE) == 0
    await limiter.fail(HERE, "one more")
    assert 0 < await limiter.wait(HERE) <= 60
    assert await limiter.wait(ELSEWHERE) == 0


async def test_same_key_counts_once(limiter: FailureLimiter) -> None:
    """A client that retries one bad key for ever spends one failure, at each address its own."""
    for _ in range(2 * FAILURES):
        await limiter.fail(HERE, "key-0")
    await spend(limiter, HERE, FAILURES - 1)
    assert await limiter.wait(HERE) == 0
    await spend(limiter, ELSEWHERE)
    assert await limiter.wait(ELSEWHERE) > 0


async def test_failures_beyond_the_limit_do_not_prolong_it(limiter: FailureLimiter) -> None:
    """A spent address waits no longer than the window, however often it goes on."""
    await spend(limiter, HERE, 10 * FAILURES)
    assert 0 < await limiter.wait(HERE) <= 60


async def test_address_may_fail_again_after_the_window(make: Callable[[int], FailureLimiter]) -> None:
    """When the failures are older than the window, they no longer count, nor do their keys."""
    limiter = make(3)
    for _ in range(2):
        await spend(limiter, HERE)
        spent_at = time.monotonic()
        assert 0 < await limiter.wait(HERE) <= 3
        async with asyncio.timeout(10):
            while await limiter.wait(HERE):  # noqa: ASYNC110 - nothing but the clock frees it
                await asyncio.sleep(0)
        await asyncio.sleep(spent_at + 3.1 - time.monotonic())  # the last of its keys is a little younger


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::2"),
        ("not an address", "not an address"),
    ],
)
async def test_one_client_under_two_addresses_is_one(limiter: FailureLimiter, one: str, same: str) -> None:
    """An IPv6 client is its /64, and an IPv4 address is itself however it is written."""
    await spend(limiter, one)
    assert await limiter.wait(same) > 0
    assert await limiter.wait("2001:db8:1:3::1") == 0
    assert await limiter.wait("::ffff:192.0.2.9") == 0


async def test_visits_of_one_moment_are_counted_one_by_one(limiter: FailureLimiter) -> None:
    """A burst from one address finds as much room as so many visits one after the other; a neighbour's is its own."""
    visits = Visits(limiter)
    comes = [visits.count(address) for _ in range(10 * FAILURES) for address in (HERE, ELSEWHERE)]
    outcomes = await asyncio.gather(*comes, return_exceptions=True)
    assert [outcomes[0::2].count(None), outcomes[1::2].count(None)] == [FAILURES, FAILURES]


async def test_processes_count_together(link: RedisLink) -> None:
    """What fails in one process counts in all, and a key counts once in all."""
    one, other = on_redis(link), on_redis(link)
    await spend(one, HERE, FAILURES - 1)
    await spend(other, HERE, FAILURES - 1)
    assert await other.wait(HERE) == 0
    await other.fail(HERE, "one more")
    assert await one.wait(HERE) > 0


async def test_redis_holds_neither_addresses_nor_tags(link: RedisLink, raw: Redis) -> None:
    """Names in Redis are HMACs, and all of them end by themselves."""
    await spend(on_redis(link), HERE)
    names = [name async for name in raw.scan_iter()]
    assert names
    for name in names:
        assert b"192" not in name.replace(b"keystile", b"")[:40]
        assert b"key-" not in name
        assert await raw.pttl(name) > 0


async def test_redis_out_of_reach_is_not_waited_for(own_redis: RedisServer, quick_link: RedisLink) -> None:
    """Without Redis each process counts alone, goes on from what it knew, and nothing is raised."""
    limiter = on_redis(quick_link)
    await spend(limiter, HERE, FAILURES - 1)
    own_redis.suspend()
    async with asyncio.timeout(3):
        assert await limiter.wait(HERE) == 0
        await limiter.fail(HERE, "one more")
        assert await limiter.wait(HERE) > 0
        assert await limiter.wait(ELSEWHERE) == 0
    own_redis.resume()
