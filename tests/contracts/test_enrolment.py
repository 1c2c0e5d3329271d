"""What making an owner of somebody who came by themselves promises, on every store."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from contracts.keycloak_fixtures import a_record, adding, open_client
from keystile.adapters.keycloak.enrolment import KeycloakEnrolment
from keystile.adapters.sqlite.database import SqliteDatabase
from keystile.adapters.sqlite.directory import SqliteDirectory
from keystile.adapters.sqlite.enrolment import SqliteEnrolment
from keystile.errors import ChangeRefusedError
from unit.keypairs import new_pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from contracts.keycloak_fixtures import Realm
    from keystile.ports import Directory, Enrolment


@pytest.fixture(params=["keycloak", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Enrolment, Directory]]:
    if request.param == "keycloak":
        realm: Realm = request.getfixturevalue("realm")
        async with realm.directory() as directory:
            writer = open_client(realm.server.url, realm.wanted.realm, realm.wanted.writer, realm.alerts.append)
            yield KeycloakEnrolment(writer), directory
            await writer.close()
        return
    database = SqliteDatabase(tmp_path / "keystile.db")
    await database.open()
    yield SqliteEnrolment(database), SqliteDirectory(database)
    await database.close()


async def test_new_owner_is_enabled_and_holds_nothing(store: tuple[Enrolment, Directory]) -> None:
    """Found by name at once, with no key and no role: neither of ours, nor one the realm gives to everybody."""
    enrolment, directory = store
    name = f"self-{secrets.token_hex(6)}"
    await enrolment.create(name)
    owner = await directory.owner_named(name)
    assert owner is not None
    assert (owner.username, owner.enabled, owner.records, owner.lookups) == (name, True, (), frozenset())
    assert not await directory.administers(owner.id)
    assert not await directory.roles(owner.id)


async def test_name_of_somebody_is_refused(store: tuple[Enrolment, Directory]) -> None:
    """Nobody becomes somebody else, in whatever case the name is written, and that one stays as it is."""
    enrolment, directory = store
    name = f"self-{secrets.token_hex(6)}"
    await enrolment.create(name)
    before = await directory.owner_named(name)
    for again in (name, name.upper()):
        with pytest.raises(ChangeRefusedError):
            await enrolment.create(again)
    assert await directory.owner_named(name) == before


async def test_new_user_has_no_mail_and_no_credential(realm: Realm) -> None:
    """In Keycloak there is nothing to sign in by, and nothing to be reached by."""
    writer = open_client(realm.server.url, realm.wanted.realm, realm.wanted.writer, realm.alerts.append)
    name = f"self-{secrets.token_hex(6)}"
    await KeycloakEnrolment(writer).create(name)
    await writer.close()
    user = realm.admin.get_user(str(realm.admin.get_user_id(name)))
    assert (user.get("email"), user["enabled"]) == (None, True)
    assert realm.admin.get_credentials(user["id"]) == []
    assert realm.admin.get_realm_roles_of_user(user["id"]) == []


async def test_new_user_leaves_the_groups_that_the_realm_puts_everybody_into(realm: Realm) -> None:
    """A realm may give roles by a default group: who came by themselves has none of them."""
    group, role = f"everybody-{secrets.token_hex(4)}", f"role-{secrets.token_hex(4)}"
    group_id = str(realm.admin.create_group({"name": group}))
    realm.admin.create_realm_role({"name": role})
    realm.admin.assign_group_realm_roles(group_id, [realm.admin.get_realm_role(role)])
    realm.admin.connection.raw_put(f"admin/realms/{realm.wanted.realm}/default-groups/{group_id}", data="")
    writer = open_client(realm.server.url, realm.wanted.realm, realm.wanted.writer, realm.alerts.append)
    name = f"self-{secrets.token_hex(6)}"
    await KeycloakEnrolment(writer).create(name)
    await writer.close()
    user_id = str(realm.admin.get_user_id(name))
    assert realm.admin.get_user_groups(user_id) == []
    assert role not in {each["name"] for each in realm.admin.get_composite_realm_roles_of_user(user_id)}
    realm.admin.delete_group(group_id)


async def test_public_key_is_found_by_id_and_by_fingerprint(store: tuple[Enrolment, Directory]) -> None:
    """What is registered for such an owner is kept as it was, with both of its look-up values."""
    enrolment, directory = store
    name = f"self-{secrets.token_hex(6)}"
    await enrolment.create(name)
    owner = await directory.adopt(name)
    public_key = new_pair().public
    await directory.update(owner.id, adding(a_record(key_id=secrets.token_hex(6), public_key=public_key)))
    (found,) = await directory.find(public_key.lookup)
    (record,) = found.records
    assert (found.id, record.public_key) == (owner.id, public_key)
    assert [each.id for each in await directory.find(record.key_id)] == [owner.id]
