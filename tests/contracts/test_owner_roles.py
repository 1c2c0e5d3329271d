"""What a directory says an owner holds."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from contracts.keycloak_fixtures import Realm, make_realm
from keystile.adapters.keycloak.events import KeycloakEvents
from keystile.adapters.keycloak.wanted import MARKED
from keystile.adapters.sqlite.database import SqliteDatabase
from keystile.adapters.sqlite.directory import SqliteDirectory
from keystile.errors import CannotTellError, OwnerUnknownError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from keycloak import KeycloakAdmin

    from keystile.adapters.keycloak.directory import KeycloakDirectory
    from stack import KeycloakServer

SHOP = "https://shop.example.com"


@pytest.fixture(scope="module")
def marked_realm(keycloak_server: KeycloakServer) -> Realm:
    """Set a realm up whose scopes depend on a role of a client of its own."""
    bare = make_realm(keycloak_server)
    bare.admin.create_client({"clientId": SHOP})
    client = str(bare.admin.get_client_id(SHOP))
    bare.admin.create_client_role(client, {"name": "seller"})
    bare.admin.create_client_role(client, {"name": "buyer"})
    realm = Realm(keycloak_server, replace(bare.wanted, marked=(f"{SHOP}:seller",)))
    assert len(realm.set_up()) == 1
    assert realm.set_up() == []
    return realm


@pytest.fixture
async def directory(marked_realm: Realm) -> AsyncIterator[KeycloakDirectory]:
    async with marked_realm.directory() as opened:
        yield opened


def client_role(admin: KeycloakAdmin, client: str, role: str) -> tuple[str, dict[str, Any]]:
    uuid = str(admin.get_client_id(client))
    return uuid, admin.get_client_role(uuid, role)


def give(admin: KeycloakAdmin, user: str, client: str, role: str) -> None:
    uuid, found = client_role(admin, client, role)
    admin.assign_client_role(user, uuid, [found])


async def test_nobody_holds_what_was_not_given(marked_realm: Realm, directory: KeycloakDirectory) -> None:
    """A new user has the realm's default roles, and nothing of Keystile or of the realm's management."""
    user = marked_realm.add_user()
    held = await directory.roles(user)
    assert held is not None
    assert "offline_access" in held
    assert not any(":" in role or role.startswith("/") for role in held)
    assert not await directory.administers(user)


async def test_roles_and_groups_are_told_by_whatever_way_they_came(
    marked_realm: Realm, directory: KeycloakDirectory
) -> None:
    """Direct, within another role, by a group or by the group above it; client roles by their client's name."""
    admin, name = marked_realm.admin, secrets.token_hex(4)
    admin.create_realm_role({"name": f"inner-{name}"})
    admin.create_realm_role({"name": f"outer-{name}"})
    admin.add_composite_realm_roles_to_role(
        f"outer-{name}", [admin.get_realm_role(f"inner-{name}"), client_role(admin, "keystile", "key-admin")[1]]
    )
    group = str(admin.create_group({"name": name}))
    below = str(admin.create_group({"name": "eu"}, parent=group))
    admin.assign_group_realm_roles(group, [admin.get_realm_role(f"outer-{name}")])
    user = marked_realm.add_user()
    admin.group_user_add(user, below)
    give(admin, user, SHOP, "seller")
    give(admin, user, SHOP, "buyer")  # no scope depends on it
    held = await directory.roles(user)
    assert held is not None
    own = {f"inner-{name}", f"outer-{name}", "keystile:key-admin", f"{SHOP}:seller", f"/{name}/eu"}
    assert own <= held
    assert f"{SHOP}:buyer" not in held
    assert f"/{name}" not in held
    admin.group_user_remove(user, below)
    assert not own - {f"{SHOP}:seller"} & (await directory.roles(user) or frozenset())


@pytest.mark.parametrize(
    ("client", "role"),
    [
        ("keystile", "key-admin"),
        ("keystile", "tenant-admin"),
        ("realm-management", "realm-admin"),
        ("realm-management", "manage-users"),
        ("realm-management", "view-users"),
        ("realm-management", "impersonation"),
    ],
)
async def test_who_administers_is_known(
    marked_realm: Realm, directory: KeycloakDirectory, client: str, role: str
) -> None:
    """Any role of Keystile or of the realm's management tells, given directly or by a group."""
    admin, direct, by_group = marked_realm.admin, marked_realm.add_user(), marked_realm.add_user()
    give(admin, direct, client, role)
    uuid, found = client_role(admin, client, role)
    group = str(admin.create_group({"name": secrets.token_hex(4)}))
    admin.assign_group_client_roles(group, uuid, [found])
    admin.group_user_add(by_group, group)
    assert await directory.administers(direct)
    assert await directory.administers(by_group)


async def test_unknown_owner_holds_nothing_to_tell(directory: KeycloakDirectory) -> None:
    """Nobody is not somebody without roles."""
    for stranger in ("nobody", "..", ""):
        with pytest.raises(OwnerUnknownError):
            await directory.roles(stranger)
        with pytest.raises(OwnerUnknownError):
            await directory.administers(stranger)


async def test_realm_without_marks_cannot_tell(own_realm: Realm) -> None:
    """Where set-up was not run since, nobody seems to hold anything: said so, and not believed."""
    user = own_realm.add_user()
    own_realm.admin.delete_realm_role(MARKED)
    async with own_realm.directory() as directory:
        with pytest.raises(CannotTellError):
            await directory.roles(user)
    assert any("keycloak setup" in alert for alert in own_realm.alerts)
    assert len(own_realm.set_up()) == 1
    async with own_realm.directory() as directory:
        assert await directory.roles(user) is not None


async def test_embedded_owners_have_no_roles(tmp_path: Path) -> None:
    """The embedded store knows its owners, and no roles."""
    database = SqliteDatabase(tmp_path / "keystile.db")
    await database.open()
    directory = SqliteDirectory(database)
    try:
        ada = await directory.adopt("ada")
        assert await directory.roles(ada.id) is None
        assert not await directory.administers(ada.id)
        with pytest.raises(OwnerUnknownError):
            await directory.roles("nobody")
    finally:
        await database.close()


def _change_composites(admin: KeycloakAdmin, role: str, _group: str) -> None:
    admin.add_composite_realm_roles_to_role(role, [admin.get_realm_role("offline_access")])


def _delete_role(admin: KeycloakAdmin, role: str, _group: str) -> None:
    admin.delete_realm_role(role)


def _give_group(admin: KeycloakAdmin, role: str, group: str) -> None:
    admin.assign_group_realm_roles(group, [admin.get_realm_role(role)])


def _delete_group(admin: KeycloakAdmin, _role: str, group: str) -> None:
    admin.delete_group(group)


def _rename_group(admin: KeycloakAdmin, _role: str, group: str) -> None:
    admin.update_group(group, {"name": secrets.token_hex(4)})


def _delete_client_role(admin: KeycloakAdmin, _role: str, _group: str) -> None:
    client = str(admin.get_client_id(SHOP))
    admin.create_client_role(client, {"name": "passing"})
    admin.delete_client_role(client, "passing")


@pytest.mark.parametrize(
    "change", [_change_composites, _delete_role, _give_group, _delete_group, _rename_group, _delete_client_role]
)
async def test_change_of_roles_that_names_nobody_is_told(
    marked_realm: Realm, change: Callable[[KeycloakAdmin, str, str], None]
) -> None:
    """Roles and groups changed as such: the events say that it may concern anybody who holds some."""
    admin, role = marked_realm.admin, secrets.token_hex(4)
    admin.create_realm_role({"name": role})
    group = str(admin.create_group({"name": secrets.token_hex(4)}))
    reader = marked_realm.client(marked_realm.wanted.reader)
    events = KeycloakEvents(reader, writer_id=marked_realm.wanted.writer.id, alert=marked_realm.alerts.append)
    since = (await events.poll((await events.poll(None)).polled_at)).polled_at
    change(admin, role, group)
    polled = await events.poll(since)
    await reader.close()
    assert (polled.realm_wide, polled.owner_ids) == (True, frozenset())
