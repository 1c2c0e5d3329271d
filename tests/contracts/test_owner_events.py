"""What every source of owner events promises."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING

import pytest
from keycloak import KeycloakOpenID, KeycloakPostError

from contracts.keycloak_fixtures import Realm, a_record, adding
from keystile.adapters.keycloak.events import KeycloakEvents
from keystile.errors import CannotTellError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from keystile.ports import OwnerEvents


@pytest.fixture
async def events(realm: Realm) -> AsyncIterator[OwnerEvents]:
    reader = realm.client(realm.wanted.reader)
    yield KeycloakEvents(reader, writer_id=realm.wanted.writer.id, alert=realm.alerts.append)
    await reader.close()


async def start(events: OwnerEvents) -> float:
    """Begin to follow, and forget what happened before."""
    now = (await events.poll(None)).polled_at
    return (await events.poll(now)).polled_at


async def test_first_poll_only_tells_the_time(realm: Realm, events: OwnerEvents) -> None:
    """Whoever begins to follow learns from when on, and nothing else."""
    realm.add_user()
    first = await events.poll(None)
    assert (first.owner_ids, first.own_ids, first.realm_wide) == (frozenset(), frozenset(), False)
    assert abs(first.polled_at - time.time()) < 2


async def test_changes_made_elsewhere_name_their_owners_once(realm: Realm, events: OwnerEvents) -> None:
    """Edited, signed out, given roles or groups, deleted: each owner is named by the next poll, and by no later one."""
    admin = realm.admin
    edited, signed_out, promoted, grouped, deleted = (realm.add_user() for _ in range(5))
    group = admin.create_group({"name": secrets.token_hex(4)})
    since = await start(events)
    admin.update_user(edited, {"enabled": False})
    admin.user_logout(signed_out)
    admin.assign_realm_roles(promoted, [admin.get_realm_role("offline_access")])
    admin.group_user_add(grouped, str(group))
    admin.delete_user(deleted)
    polled = await events.poll(since)
    assert polled.owner_ids == {edited, signed_out, promoted, grouped, deleted}
    assert (polled.own_ids, polled.realm_wide) == (frozenset(), False)
    assert (await events.poll(polled.polled_at)).owner_ids == frozenset()


async def test_own_changes_are_told_apart(realm: Realm, events: OwnerEvents) -> None:
    """An owner that only we changed is our own; one that somebody else changed too is not."""
    ours, both = realm.add_user(), realm.add_user()
    since = await start(events)
    async with realm.directory() as directory:
        await directory.update(ours, adding(a_record()))
        await directory.update(both, adding(a_record()))
    realm.admin.update_user(both, {"firstName": "Ada"})
    polled = await events.poll(since)
    assert polled.own_ids == {ours}
    assert polled.owner_ids == {both}


async def test_change_that_names_no_owner_concerns_all(realm: Realm, events: OwnerEvents) -> None:
    """A group's roles changed, or the realm itself: nobody is named, and everybody may be meant."""
    admin = realm.admin
    group = str(admin.create_group({"name": secrets.token_hex(4)}))
    since = await start(events)
    admin.assign_group_realm_roles(group, [admin.get_realm_role("offline_access")])
    polled = await events.poll(since)
    assert (polled.realm_wide, polled.owner_ids) == (True, frozenset())
    admin.update_realm(realm.wanted.realm, {"notBefore": 1})
    assert (await events.poll(polled.polled_at)).realm_wide


async def test_lockout_for_good_names_its_owner(realm: Realm, events: OwnerEvents) -> None:
    """A user whom Keycloak itself disables after wrong passwords is named."""
    brute_force = {"bruteForceProtected": True, "permanentLockout": True, "failureFactor": 1}
    realm.admin.update_realm(realm.wanted.realm, brute_force)
    realm.admin.create_client({"clientId": "app", "publicClient": True, "directAccessGrantsEnabled": True})
    user = realm.add_user(credentials=[{"type": "password", "value": "right", "temporary": False}])
    since = await start(events)
    app = KeycloakOpenID(f"{realm.server.url}/", realm.wanted.realm, "app")
    with pytest.raises(KeycloakPostError):
        app.token(realm.admin.get_user(user)["username"], "wrong")
    async with asyncio.timeout(10):
        while user not in (await events.poll(since)).owner_ids:
            pass


async def test_many_events_are_all_told(realm: Realm, events: OwnerEvents) -> None:
    """More events than are asked for at first, all of one moment, are told by one poll."""
    since = await start(events)
    users = [{"username": f"many-{secrets.token_hex(6)}"} for _ in range(501)]
    realm.admin.partial_import_realm(realm.wanted.realm, {"ifResourceExists": "FAIL", "users": users})
    assert len((await events.poll(since)).owner_ids) == 501


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"adminEventsEnabled": False}, "admin events"),
        ({"eventsEnabled": False}, "DELETE_ACCOUNT"),
        ({"enabledEventTypes": ["LOGIN"]}, "DELETE_ACCOUNT"),
    ],
)
async def test_events_switched_off_cannot_be_followed(
    realm: Realm, events: OwnerEvents, change: dict[str, object], told: str
) -> None:
    """A realm that keeps no events says "cannot tell" and alerts, though Keycloak answers with an empty list."""
    before = realm.admin.get_realm(realm.wanted.realm)
    realm.admin.update_realm(realm.wanted.realm, change)
    try:
        with pytest.raises(CannotTellError, match=told):
            await events.poll(None)
    finally:
        realm.admin.update_realm(realm.wanted.realm, {name: before[name] for name in change})
    assert [told in alert for alert in realm.alerts] == [True]


async def test_what_was_not_taken_in_is_told_again(realm: Realm, events: OwnerEvents) -> None:
    """Events of a poll that was cut short, or whose answer the caller could not take in, are told once more."""
    user = realm.add_user()
    since = await start(events)
    realm.admin.update_user(user, {"firstName": "Ada"})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await events.poll(since)
    first, again = await events.poll(since), await events.poll(since)
    assert first.owner_ids == again.owner_ids == {user}
    assert (await events.poll(again.polled_at)).owner_ids == frozenset()
