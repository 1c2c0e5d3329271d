"""What every store of the fallback index promises."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from contracts.examples import PEPPERS
from keystile.adapters.memory.index import InProcessIndexStore
from keystile.adapters.redis.index import RedisIndexStore
from keystile.ports import IndexEntry, IndexState, IndexStore

ONE, OTHER = b"1" * 32, b"2" * 32
STATE = IndexState(generation="g1", started_at=1_700_000_000.5, finished_at=1_700_000_100.25)


@pytest.fixture(params=["in_process", "redis"])
def store(request: pytest.FixtureRequest) -> IndexStore:
    if request.param == "in_process":
        return InProcessIndexStore()
    return RedisIndexStore(request.getfixturevalue("link"), PEPPERS)


async def test_no_crawl_has_finished_at_first(store: IndexStore) -> None:
    """A new store has no state and no entries."""
    assert await store.state() is None
    assert await store.named("g1", [ONE, OTHER]) == ()
    assert await store.unnamed("g1", 10) == ()


async def test_finished_crawl_is_remembered(store: IndexStore) -> None:
    """The state told is the one that was finished last."""
    await store.finish(STATE)
    assert await store.state() == STATE
    later = replace(STATE, generation="g2")
    await store.finish(later)
    assert await store.state() == later


async def test_entries_are_found_by_name(store: IndexStore) -> None:
    """Any of several names finds its entries, and no others."""
    entries = [IndexEntry("owner-1", "key-1", ONE), IndexEntry("owner-2", "key-2", OTHER)]
    await store.add("g1", entries)
    assert set(await store.named("g1", [ONE, b"3" * 32])) == {entries[0]}
    assert sorted(await store.named("g1", [ONE, OTHER, ONE]), key=lambda entry: entry.owner_id) == entries
    assert await store.named("g1", []) == ()
    assert await store.named("g2", [ONE]) == ()


async def test_two_owners_of_one_name_are_both_found(store: IndexStore) -> None:
    """A key id at two owners is seen as such, however the two were added."""
    entries = [IndexEntry(f"owner-{number}", "key", ONE) for number in range(10)]
    await asyncio.gather(*(store.add("g1", [entry]) for entry in entries))
    assert set(await store.named("g1", [ONE])) == set(entries)


async def test_same_entry_again_changes_nothing(store: IndexStore) -> None:
    """A page crawled twice leaves each entry once."""
    named, unnamed = IndexEntry("owner", "key", ONE), IndexEntry("owner", "key", None, "$2b$12$hash")
    for _ in range(2):
        await store.add("g1", [named, unnamed])
    assert await store.named("g1", [ONE]) == (named,)
    assert await store.unnamed("g1", 10) == (unnamed,)


async def test_unnamed_entries_are_limited(store: IndexStore) -> None:
    """Of many entries that only bcrypt can recognise, as many as asked for are told, each once."""
    entries = [IndexEntry("owner", f"key-{number}", None, f"$2b$12${number}") for number in range(450)]
    await store.add("g1", entries)
    assert set(await store.unnamed("g1", 1000)) == set(entries)
    assert len(set(await store.unnamed("g1", 7))) == 7


async def test_finishing_drops_other_generations(store: IndexStore) -> None:
    """When a crawl is finished, what others left is gone, unfinished ones included."""
    named, unnamed = IndexEntry("owner", "key", ONE), IndexEntry("owner", "key", None, "$2b$12$hash")
    for generation in ("old", "unfinished", "g1"):
        await store.add(generation, [named, unnamed])
    await store.finish(STATE)
    for generation in ("old", "unfinished"):
        assert await store.named(generation, [ONE]) == ()
        assert await store.unnamed(generation, 10) == ()
    assert await store.named("g1", [ONE]) == (named,)
    assert await store.unnamed("g1", 10) == (unnamed,)
