from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from keystile.adapters.memory.index import InProcessIndexStore
from keystile.adapters.memory.leases import InProcessLeases
from keystile.authority.fallback import CRAWL_PAUSE, EVENTS_FOLLOWED_FOR, FallbackIndex
from keystile.authority.lookup import Found, Lookup, older_lookup
from keystile.authority.matching import BcryptMatches
from keystile.authority.memory import ChangeMemory
from keystile.authority.proof import BcryptWorkers, Prover
from keystile.changes import PollMark
from keystile.digests import bcrypt_hash, older_hash_of
from keystile.errors import CannotTellError, KeyRefusedError, Reason, StillSearchingError
from keystile.keys import ApiKey, KeyFormat
from unit.builders import PEPPERS, a_record, an_owner, with_other_secret
from unit.world import Time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from keystile.ports import OwnerChange
    from keystile.records import Owner

FORMAT = KeyFormat(PEPPERS, older=True)
SECRET = b"older secret"
KEY = FORMAT.generate("live")
BY_HASH = FORMAT.parse("mcpkey_live_" + "h" * 43)
BY_BCRYPT = FORMAT.parse("mcpkey_live_" + "b" * 43)
STRANGER = FORMAT.parse("mcpkey_live_" + "s" * 43)


class PagedDirectory:
    """A `Directory` of a few owners, two a page, none of which has a look-up value."""

    def __init__(self, *owners: Owner) -> None:
        self.all = list(owners)
        self.pages = 0
        self.down_at = -1
        self.may_page = asyncio.Event()
        self.may_page.set()

    async def find(self, lookup: str) -> tuple[Owner, ...]:
        """Return the owners with that look-up value."""
        return tuple(owner for owner in self.all if lookup in owner.lookups)[:2]

    async def owner(self, owner_id: str) -> Owner | None:
        """Return that owner."""
        return next((owner for owner in self.all if owner.id == owner_id), None)

    async def owner_named(self, username: str) -> Owner | None:
        """Return that owner."""
        return next((owner for owner in self.all if owner.username == username), None)

    async def adopt(self, username: str) -> Owner:
        """Refuse: nobody is adopted here."""
        raise NotImplementedError(username)

    async def update(self, owner_id: str, change: OwnerChange, *, urgent: bool = False) -> Owner:
        """Refuse: nothing is written here."""
        raise NotImplementedError(owner_id, change, urgent)

    async def owners(self, after: str = "") -> tuple[tuple[Owner, ...], str]:
        """Return a page."""
        await self.may_page.wait()
        if self.pages == self.down_at:
            raise CannotTellError("the directory is down")
        self.pages += 1
        start = int(after or 0)
        page = tuple(self.all[start : start + 2])
        return page, str(start + 2) if start + 2 < len(self.all) else ""


class Crawled:
    """A fallback index and what stands around it."""

    def __init__(self, directory: PagedDirectory, workers: BcryptWorkers) -> None:
        self.time, self.directory = Time(), directory
        self.store, self.leases = InProcessIndexStore(), InProcessLeases(ticks=self.time.ticks)
        self.memory = ChangeMemory(self.time.ticks)
        self.prover = Prover(PEPPERS, workers, older_secret=SECRET, cost=4)
        self.index = self.another()
        self.matches = BcryptMatches(self.index, self.prover, ticks=self.time.ticks, limit=500)
        self.lookup = Lookup(directory, self.prover, PEPPERS, self.index, self.matches)
        self.poll()

    def another(self) -> FallbackIndex:
        """Return the index as another process of the deployment has it."""
        return FallbackIndex(
            self.directory,
            self.store,
            self.leases,
            self.memory,
            self.prover,
            PEPPERS,
            clock=self.time.now,
            ticks=self.time.ticks,
            older_keys=True,
        )

    def poll(self, followed_since: float = 0.0) -> None:
        """Say that events were followed until now."""
        self.memory.polled = PollMark(polled_at=self.time.now().timestamp(), followed_since=followed_since)

    async def crawl(self) -> None:
        """Let a crawl run to its end."""
        await self.index.prepare()
        if self.index._crawling is not None:  # noqa: SLF001 - the one task to wait for
            await self.index._crawling  # noqa: SLF001


def owners() -> list[Owner]:
    """Return five owners: one with a current record, two with older ones, two with nothing to find."""
    by_hash = a_record(key_id="by-hash", gen=0, older_hash=older_hash_of(BY_HASH, SECRET))
    by_bcrypt = a_record(key_id="by-bcrypt", gen=0, older_hash="", bcrypt=bcrypt_hash(BY_BCRYPT, 4))
    found = an_owner(a_record(key_id="found"), id="o4", lookups=frozenset({"found"}))
    current = a_record(key_id=KEY.tag, bcrypt=bcrypt_hash(KEY, 4))
    return [
        an_owner(id="o0"),
        an_owner(by_hash, id="o1"),
        an_owner(by_bcrypt, id="o2"),
        an_owner(current, id="o3"),
        found,
    ]


@pytest.fixture
async def crawled(workers: BcryptWorkers) -> AsyncIterator[Crawled]:
    built = Crawled(PagedDirectory(*owners()), workers)
    yield built
    built.directory.may_page.set()
    await built.matches.close()
    await built.index.close()


async def find(crawled: Crawled, key: ApiKey) -> Found:
    return await crawled.lookup.find(key) or await crawled.lookup.find_unnamed(key, "192.0.2.1")


async def holder(crawled: Crawled, key: ApiKey) -> str:
    return (await find(crawled, key)).owner.id


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
    crawled.memory.polled = None
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


async def test_disabled_older_keys_are_not_indexed(crawled: Crawled) -> None:
    """Where no older keys are served, none are crawled for."""
    crawled.index._older_keys = False  # noqa: SLF001 - the setting
    await crawled.crawl()
    assert await crawled.index.unnamed(10) == ()
    assert await holder(crawled, KEY) == "o3"


async def matched(crawled: Crawled) -> None:
    """Wait for the jobs under way."""
    await asyncio.gather(*crawled.matches._jobs.values())  # noqa: SLF001 - the tasks to wait for


def test_look_up_values_of_older_keys_are_long_and_keyed() -> None:
    """Nobody without the key and a pepper can tell the value; it says nothing of the key."""
    value = older_lookup(BY_HASH, PEPPERS.current)
    assert value.startswith("older-")
    assert len(value) == 70
    assert value != older_lookup(BY_BCRYPT, PEPPERS.current)
    assert replace(PEPPERS.current, id="p2").lookup.digest(b"x") == PEPPERS.current.lookup.digest(b"x")
