from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from keystile.authority.fallback import CRAWL_PAUSE, EVENTS_FOLLOWED_FOR
from keystile.authority.lookup import older_lookup
from keystile.digests import bcrypt_hash
from keystile.errors import KeyRefusedError, Reason, StillSearchingError
from unit.builders import PEPPERS, a_record, an_owner, with_other_secret
from unit.crawled import BY_BCRYPT, BY_HASH, FORMAT, KEY, STRANGER, Crawled, find, holder


async def test_nobody_can_tell_before_a_crawl_has_ended(crawled: Crawled) -> None:
    """Until the whole store was looked through, a key without a look-up value is 503, never unknown."""
    crawled.directory.may_page.clear()
    for key in (KEY, BY_HASH, BY_BCRYPT, STRANGER):
        with pytest.raises(StillSearchingError):
            await holder(crawled, key)


async def test_record_without_a_look_up_value_is_found_and_healed(crawled: Crawled) -> None:
    """After one crawl a record is found by its key id, and the value it lacks is named."""
    await crawled.crawl()
    found = await find(crawled, KEY)
    assert (found.owner.id, found.heal) == ("o3", KEY.key_id)


async def test_older_key_is_found_by_its_hash_and_healed(crawled: Crawled) -> None:
    """A `cacheHash` is an HMAC of the key: it is looked for by name, and gets a look-up value nobody can guess."""
    await crawled.crawl()
    found = await find(crawled, BY_HASH)
    assert (found.owner.id, found.heal) == ("o1", older_lookup(BY_HASH, PEPPERS.current))


async def test_unknown_keys_are_unknown_after_a_crawl(crawled: Crawled, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key absent from a finished index is refused at once."""
    monkeypatch.setattr("keystile.digests.bcrypt_decoy", lambda _key: None)
    await crawled.crawl()
    with pytest.raises(KeyRefusedError) as refused:
        await holder(crawled, FORMAT.generate("live"))
    assert refused.value.reason is Reason.UNKNOWN


async def test_one_crawl_serves_every_process(crawled: Crawled) -> None:
    """While one process crawls, no other does; when it has ended, all use it."""
    crawled.directory.may_page.clear()
    others = [crawled.another() for _ in range(3)]
    for index in (crawled.index, *others, crawled.index):
        with pytest.raises(StillSearchingError):
            await index.finished()
    await asyncio.sleep(0)
    crawled.directory.may_page.set()
    await crawled.crawl()
    for index in (crawled.index, *others):
        await index.finished()
        await index.close()
    assert crawled.directory.pages == 3


async def test_crawl_that_is_cut_short_proves_nothing(crawled: Crawled) -> None:
    """If a page cannot be read the crawl has not ended, and the next caller starts another."""
    crawled.directory.down_at = 1
    await crawled.crawl()
    with pytest.raises(StillSearchingError):
        await crawled.index.finished()
    crawled.directory.down_at = -1
    await crawled.crawl()
    assert await holder(crawled, KEY) == "o3"


async def test_index_counts_only_while_events_are_followed(crawled: Crawled) -> None:
    """Without polls for a minute, or after a gap in them, an empty answer proves nothing."""
    await crawled.crawl()
    await crawled.index.finished()
    crawled.time.passed = EVENTS_FOLLOWED_FOR
    with pytest.raises(StillSearchingError):
        await crawled.index.finished()
    crawled.poll()
    await crawled.index.finished()
    crawled.poll(followed_since=crawled.time.now().timestamp())
    with pytest.raises(StillSearchingError):
        await crawled.index.finished()


async def test_crawls_are_ten_minutes_apart(crawled: Crawled) -> None:
    """After a gap in the events the next crawl waits: the store is not read over and over."""
    await crawled.crawl()
    crawled.time.passed = CRAWL_PAUSE - 1
    crawled.poll(followed_since=crawled.time.now().timestamp())
    await crawled.crawl()
    assert crawled.directory.pages == 3
    crawled.time.passed = CRAWL_PAUSE
    crawled.poll(followed_since=crawled.time.now().timestamp())
    await crawled.crawl()
    assert crawled.directory.pages == 6
    assert await holder(crawled, KEY) == "o3"


async def test_no_crawl_while_nobody_follows_events(crawled: Crawled) -> None:
    """A crawl that nobody keeps current could vouch for nothing, so none is begun."""
    crawled.memory.fresh_until = float("-inf")
    with pytest.raises(StillSearchingError):
        await crawled.index.finished()
    await crawled.crawl()
    assert crawled.directory.pages == 0


async def test_index_follows_changed_owners(crawled: Crawled) -> None:
    """A record that appears after the crawl is found once its owner was read again."""
    await crawled.crawl()
    late = FORMAT.generate("live")
    owner = an_owner(a_record(key_id=late.tag, bcrypt=bcrypt_hash(late, 4)), id="o9")
    crawled.directory.all.append(owner)
    assert await crawled.index.follow(owner) == [late.tag]
    assert await holder(crawled, late) == "o9"


async def test_whoever_the_index_names_is_read_again_and_proved(crawled: Crawled) -> None:
    """The index is a hint: a record that is gone, or a wrong secret, is not believed because of it."""
    await crawled.crawl()
    with pytest.raises(KeyRefusedError) as refused:
        await holder(crawled, with_other_secret(KEY))
    assert refused.value.reason is Reason.WRONG_SECRET
    crawled.directory.all[3] = an_owner(id="o3")
    with pytest.raises(KeyRefusedError) as refused:
        await holder(crawled, KEY)
    assert refused.value.reason is Reason.UNKNOWN


async def test_key_id_at_two_owners_is_refused_at_both(crawled: Crawled) -> None:
    """A record copied without its look-up value is no better than one copied with it."""
    copied = crawled.directory.all[3].records[0]
    crawled.directory.all[0] = an_owner(copied, id="o0")
    await crawled.crawl()
    with pytest.raises(KeyRefusedError) as refused:
        await holder(crawled, KEY)
    assert refused.value.reason is Reason.DUPLICATE


async def test_disabled_older_keys_are_not_indexed(crawled: Crawled) -> None:
    """Where no older keys are served, none are crawled for."""
    crawled.index._older_keys = False  # noqa: SLF001 - the setting
    await crawled.crawl()
    assert await crawled.index.unnamed(10) == ()
    assert await holder(crawled, KEY) == "o3"


def test_look_up_values_of_older_keys_are_long_and_keyed() -> None:
    """Nobody without the key and a pepper can tell the value; it says nothing of the key."""
    value = older_lookup(BY_HASH, PEPPERS.current)
    assert value.startswith("older-")
    assert len(value) == 70
    assert value != older_lookup(BY_BCRYPT, PEPPERS.current)
    assert replace(PEPPERS.current, id="p2").lookup.digest(b"x") == PEPPERS.current.lookup.digest(b"x")
