from __future__ import annotations

import asyncio

import pytest

from keystile.authority.lookup import older_lookup
from keystile.errors import CannotTellError, StillSearchingError
from unit.builders import PEPPERS
from unit.crawled import BY_BCRYPT, STRANGER, Crawled, find, holder


async def test_key_matched_by_bcrypt_is_503_until_it_is_found(crawled: Crawled) -> None:
    """One job per key looks through the older records; its answer is used by whoever asks next."""
    await crawled.crawl()
    with pytest.raises(StillSearchingError):
        await holder(crawled, BY_BCRYPT)
    await matched(crawled)
    found = await find(crawled, BY_BCRYPT)
    assert (found.owner.id, found.proved.record.key_id) == ("o2", "by-bcrypt")
    assert found.heal == older_lookup(BY_BCRYPT, PEPPERS.current)


async def test_one_match_at_a_time_for_an_address(crawled: Crawled) -> None:
    """An address with many unknown keys has one of them tried at a time; the same key again is no second job."""
    await crawled.crawl()
    for _ in range(2):
        with pytest.raises(StillSearchingError):
            await crawled.matches.match(STRANGER, "192.0.2.1")
    with pytest.raises(CannotTellError):
        await crawled.matches.match(BY_BCRYPT, "192.0.2.1")
    with pytest.raises(StillSearchingError):
        await crawled.matches.match(BY_BCRYPT, "192.0.2.2")
    await matched(crawled)
    assert await crawled.matches.match(STRANGER, "192.0.2.1") is None
    entry = await crawled.matches.match(BY_BCRYPT, "192.0.2.1")
    assert entry is not None
    assert entry.owner_id == "o2"


async def test_match_is_remembered_for_a_minute(crawled: Crawled) -> None:
    """What was found, or not, is not tried again for a minute, and is after it."""
    await crawled.crawl()
    with pytest.raises(StillSearchingError):
        await crawled.matches.match(STRANGER, "192.0.2.1")
    await matched(crawled)
    crawled.time.passed = 59.9
    assert await crawled.matches.match(STRANGER, "192.0.2.1") is None
    crawled.time.passed = 60.0
    crawled.poll()
    with pytest.raises(StillSearchingError):
        await crawled.matches.match(STRANGER, "192.0.2.1")


async def matched(crawled: Crawled) -> None:
    """Wait for the jobs under way."""
    await asyncio.gather(*crawled.matches._jobs.values())  # noqa: SLF001 - the tasks to wait for
