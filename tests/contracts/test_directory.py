"""What every directory of owners promises."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from contracts.keycloak_fixtures import a_record, adding
from keystile.adapters.sqlite.database import SqliteDatabase
from keystile.adapters.sqlite.directory import SqliteDirectory
from keystile.errors import ChangeRefusedError, OwnerUnknownError
from keystile.records import Owner, RevocationReason, Status, Unreadable
from keystile.restrictions import Policy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from contracts.keycloak_fixtures import Realm
    from keystile.ports import Directory

NOW = datetime(2026, 11, 1, 12, 30, 15, tzinfo=UTC)


@dataclass
class Store:
    """A directory, and the ways in which its owners come and change outside of it."""

    directory: Directory
    add_owner: Callable[[], str]
    disable: Callable[[str], Awaitable[None]]


@pytest.fixture(params=["keycloak", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened = _keycloak(request.getfixturevalue("realm")) if request.param == "keycloak" else _sqlite(tmp_path)
    async with opened as store:
        yield store


@asynccontextmanager
async def _keycloak(realm: Realm) -> AsyncIterator[Store]:
    async def disable(owner_id: str) -> None:
        realm.admin.disable_user(owner_id)

    def add_owner() -> str:
        return str(realm.admin.get_user(realm.add_user())["username"])

    async with realm.directory() as directory:
        yield Store(directory, add_owner, disable)


@asynccontextmanager
async def _sqlite(folder: Path) -> AsyncIterator[Store]:
    database = SqliteDatabase(folder / "keystile.db")
    await database.open()
    directory = SqliteDirectory(database)
    yield Store(
        directory,
        lambda: f"user-{secrets.token_hex(6)}",
        lambda owner_id: directory.set_enabled(owner_id, enabled=False),
    )
    await database.close()


@pytest.fixture
def directory(store: Store) -> Directory:
    return store.directory


@pytest.fixture
async def owner(store: Store) -> Owner:
    return await store.directory.adopt(store.add_owner())


async def test_owner_is_the_same_by_name_and_by_id(directory: Directory, owner: Owner) -> None:
    """An adopted owner is found by username, in any case, and by id, and is enabled."""
    assert owner.enabled
    assert await directory.owner_named(owner.username.upper()) == owner
    assert await directory.owner(owner.id) == owner
    assert await directory.adopt(owner.username) == owner


async def test_unknown_owner_is_not_there(directory: Directory) -> None:
    """Names and ids nobody has are not there, whatever they look like, and cannot be changed."""
    for stranger in ("nobody", "..", "a/b", "?x=1"):
        assert await directory.owner(stranger) is None
        assert await directory.owner_named(stranger) is None
        with pytest.raises(OwnerUnknownError):
            await directory.update(stranger, adding(a_record()))


async def test_record_is_stored_and_found(directory: Directory, owner: Owner) -> None:
    """After an update the record is found by its look-up value, every field as it was."""
    record = a_record(
        bcrypt="$2b$12$" + "b" * 53,
        digest="d" * 43,
        digest_pepper="p2",
        stamp_pepper="p1",
        issued_by="cli:ada",
        expires_at=NOW + timedelta(days=90),
        policy=Policy(scopes=("a:b", "ü"), audiences=("https://x/y",), projects=("p",)),
        extra={"later": {"deep": [1, None, "☃"]}},
    )
    updated = await directory.update(owner.id, adding(record))
    assert updated.record(record.key_id) == record
    assert await directory.find(record.key_id) == (updated,)
    assert await directory.owner(owner.id) == updated


async def test_nothing_is_found_by_what_nobody_has(directory: Directory, owner: Owner) -> None:
    """An unknown look-up value finds nobody, nor does part of a known one, or one of another case."""
    record = a_record(key_id="abc" + secrets.token_hex(4))
    await directory.update(owner.id, adding(record))
    for lookup in ("unknown12345", record.key_id[:6], record.key_id.upper(), record.key_id + "-", "", "*", "a:b c"):
        assert await directory.find(lookup) == ()


async def test_two_owners_of_one_lookup_are_both_found(store: Store) -> None:
    """A key id at two owners is seen as what it is."""
    record = a_record()
    for _ in range(2):
        owner = await store.directory.adopt(store.add_owner())
        await store.directory.update(owner.id, adding(record))
    assert len(await store.directory.find(record.key_id)) == 2


async def test_refused_change_leaves_everything(directory: Directory, owner: Owner) -> None:
    """What a change raises comes out, and nothing is stored."""

    def refuse(owner: Owner) -> Owner:
        adding(a_record())(owner)
        raise ChangeRefusedError("no")

    with pytest.raises(ChangeRefusedError, match="no"):
        await directory.update(owner.id, refuse)
    assert await directory.owner(owner.id) == owner


async def test_concurrent_updates_all_count(directory: Directory, owner: Owner) -> None:
    """Of many updates at once none is lost."""
    records = [a_record() for _ in range(12)]
    await asyncio.gather(*(directory.update(owner.id, adding(record)) for record in records))
    stored = await directory.owner(owner.id)
    assert stored is not None
    assert {record.key_id for record in stored.records} == {record.key_id for record in records}


async def test_revoked_record_stays_and_a_purged_one_is_gone(directory: Directory, owner: Owner) -> None:
    """A tombstone is found like a record; of more than ten the oldest goes, with its look-up value."""
    records = [a_record() for _ in range(11)]
    await directory.update(owner.id, adding(*records))
    dead = [r.revoked(NOW + timedelta(seconds=i), RevocationReason.UNSPECIFIED, 2) for i, r in enumerate(records)]
    updated = await directory.update(owner.id, adding(*dead), urgent=True)
    assert [record.status for record in updated.records] == [Status.REVOKED] * 10
    assert await directory.find(records[0].key_id) == ()
    assert await directory.find(records[10].key_id) == (updated,)


async def test_unreadable_value_is_kept_as_it_is(directory: Directory, owner: Owner) -> None:
    """A record of a later version is shown as unreadable and survives updates to the letter."""
    strange = Unreadable('{"v":99, "id":"abcabcabcabc","x":"é"}', "abcabcabcabc")
    await directory.update(owner.id, lambda owner: replace(owner, unreadable=(strange,)))
    updated = await directory.update(owner.id, adding(a_record()))
    assert updated.unreadable == (strange,)


async def test_disabled_owner_is_shown_as_such(store: Store, owner: Owner) -> None:
    """Who was disabled elsewhere is found, and is not enabled; an update does not enable them again."""
    record = a_record()
    await store.directory.update(owner.id, adding(record))
    await store.disable(owner.id)
    await store.directory.update(owner.id, adding(a_record()))
    assert [found.enabled for found in await store.directory.find(record.key_id)] == [False]


async def test_pages_show_all_who_hold_keys(store: Store) -> None:
    """Paging to the end shows every owner that holds a key, and nobody else: the enabled or the disabled ones."""
    owners = [await store.directory.adopt(store.add_owner()) for _ in range(3)]
    for owner in owners[:2]:
        await store.directory.update(owner.id, adding(a_record()))
    await store.disable(owners[1].id)
    for enabled, there, elsewhere in ((True, owners[0], owners[1]), (False, owners[1], owners[0])):
        seen, cursor = await store.directory.owners(enabled=enabled)
        while cursor:
            page, cursor = await store.directory.owners(cursor, enabled=enabled)
            seen += page
        assert there.id in {owner.id for owner in seen}
        assert elsewhere.id not in {owner.id for owner in seen}
        assert all(owner.enabled is enabled for owner in seen)
        assert all(owner.records or owner.unreadable for owner in seen)
