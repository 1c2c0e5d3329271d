"""Keycloak as the directory, with everything in its way that real realms and people put there."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import pytest

from contracts.keycloak_fixtures import Realm, Relay, a_record, add_records, adding, open_directory
from keystile.adapters.keycloak.attributes import padded
from keystile.adapters.keycloak.diagnosis import diagnose
from keystile.adapters.keycloak.setup import setup
from keystile.adapters.memory.leases import InProcessLeases
from keystile.errors import (
    AttributesUndeclaredError,
    CannotTellError,
    ChangeRefusedError,
    ConfigurationError,
    OwnerUnknownError,
)
from keystile.records import Owner, RevocationReason, Status
from stack.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from keystile.adapters.keycloak.directory import KeycloakDirectory

BCRYPT = "$2b$12$" + "b" * 53
NOW = datetime(2026, 11, 2, tzinfo=UTC)
OLDER = {
    "apiKeys": [f"key:Old-1:{BCRYPT}", "scribble", '{"v":99,"id":"futurefuture"}'],
    "apiKey_Old-1_name": ["laptop"],
    "apiKey_Old-1_created": ["2024-01-02T03:04:05"],
    "apiKey_Old-1_expiresAt": ["2034-01-02T03:04:05+02:00"],
    "apiKey_Old-1_cacheHash": ["AB" * 32],
    "dept": ["one", "two"],
}


@pytest.fixture
async def directory(realm: Realm) -> AsyncIterator[KeycloakDirectory]:
    async with realm.directory() as directory:
        yield directory


def attributes(realm: Realm, owner_id: str) -> dict[str, list[str]]:
    return dict(realm.admin.get_user(owner_id).get("attributes", {}))


def identity(realm: Realm, owner_id: str) -> list[Any]:
    user = realm.admin.get_user(owner_id)
    return [user.get(name) for name in ("username", "email", "firstName", "lastName", "enabled", "emailVerified")]


def add_holders(realm: Realm, count: int) -> list[str]:
    """Create users that hold a key each, named by their look-up values."""
    names = [secrets.token_hex(6) for _ in range(count)]
    for first in range(0, count, 200):  # one transaction each, which gets slow when it gets long
        people = [
            {"username": name, "enabled": True, "attributes": {"apiKeys": ["?"], "apiKeyLookup": [padded(name)]}}
            for name in names[first : first + 200]
        ]
        realm.admin.partial_import_realm(realm.wanted.realm, {"ifResourceExists": "FAIL", "users": people})
    return names


def test_fifty_issues_from_two_processes_are_fifty_records(realm: Realm, redis_url: str) -> None:
    """Two processes that add 25 records each to one owner, all at once, lose none, nor names and e-mail."""
    owner_id = realm.add_user(emailVerified=True, attributes={"dept": ["one"]})
    before = identity(realm, owner_id)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        work = (realm.server.url, realm.wanted, redis_url, owner_id, 25)
        for done in [processes.submit(add_records, *work) for _ in range(2)]:
            done.result()
    stored = attributes(realm, owner_id)
    assert len(stored["apiKeys"]) == len(stored["apiKeyLookup"]) == 50
    assert (identity(realm, owner_id), stored["dept"]) == (before, ["one"])


async def test_edit_by_an_admin_in_between_is_kept(realm: Realm, directory: KeycloakDirectory) -> None:
    """What an admin saves between our read and our write stays, and so does our record."""
    owner_id, record, calls = realm.add_user(attributes={"dept": ["one"]}), a_record(), []

    def change(owner: Owner) -> Owner:
        calls.append(owner)
        if len(calls) == 1:
            user = realm.admin.get_user(owner_id)
            edited = user | {"email": "new@example.com", "enabled": False, "attributes": {"dept": ["two"]}}
            realm.admin.update_user(owner_id, edited)
        return owner.with_record(record)

    owner = await directory.update(owner_id, change)
    user = realm.admin.get_user(owner_id)
    assert (user["email"], user["enabled"], user["attributes"]["dept"]) == ("new@example.com", False, ["two"])
    assert (owner.records, len(calls)) == ((record,), 2)


@pytest.mark.parametrize("policy", [None, "ADMIN_VIEW"])
async def test_undeclared_attributes_are_named(own_realm: Realm, policy: str | None) -> None:
    """Where the profile does not declare our attributes a change fails, names them, and hurts nothing."""
    owner_id = own_realm.add_user(attributes={"dept": ["one"]})
    declared = own_realm.admin.get_realm_users_profile()["attributes"]
    foreign = [attribute for attribute in declared if not attribute["name"].startswith("apiKey")]
    own_realm.change_profile(attributes=foreign, unmanagedAttributePolicy=policy)
    async with own_realm.directory() as directory:
        with pytest.raises(AttributesUndeclaredError, match=r"apiKeys and apiKeyLookup.*keystile keycloak setup"):
            await directory.update(owner_id, adding(a_record()))
    own_realm.change_profile(unmanagedAttributePolicy="ADMIN_EDIT")
    assert attributes(own_realm, owner_id) == {"dept": ["one"]}


async def test_refusal_by_keycloak_is_told_in_its_words(realm: Realm, directory: KeycloakDirectory) -> None:
    """What Keycloak's own validation refuses comes back as a refusal with field and reason."""
    owner_id = realm.add_user()
    with pytest.raises(ChangeRefusedError, match=r"error-invalid-multivalued-size \(field apiKey"):
        await directory.update(owner_id, adding(*(a_record() for _ in range(65))))


@pytest.mark.parametrize("users", [10, 2000])
async def test_cold_lookup_is_one_request(own_realm: Realm, users: int) -> None:
    """Finding a key's owner, or nobody, is one request to Keycloak however many users there are."""
    names = add_holders(own_realm, users)
    async with own_realm.directory() as directory:
        assert await directory.find("warm-up") == ()  # a token, and the canary
        mark = own_realm.server.mark()
        found = [await directory.find(names[users // 2]), await directory.find("nobody")]
        asked = [line for line in own_realm.server.requests_since(mark) if own_realm.wanted.realm in line]
        assert len(asked) == 2, asked
    assert [[owner.username for owner in owners] for owners in found] == [[names[users // 2]], []]


async def test_pages_show_everybody_who_holds_keys(realm: Realm, directory: KeycloakDirectory) -> None:
    """Page after page shows all enabled holders of keys, service accounts too, and nobody else."""
    names = add_holders(realm, 210)
    account = await directory.adopt("service-account-keystile-tokens")
    await directory.update(account.id, adding(a_record()))
    idle, disabled = realm.add_user(), realm.add_user(enabled=False, attributes=OLDER)
    seen, cursor = await directory.owners()
    while cursor:
        page, cursor = await directory.owners(cursor)
        seen += page
    assert {owner.username for owner in seen} >= {*names, account.username}
    assert {owner.id for owner in seen}.isdisjoint({idle, disabled})


@pytest.mark.parametrize("fault", ["nobody listens", "wrong secret"])
async def test_directory_without_keycloak_cannot_tell(realm: Realm, fault: str) -> None:
    """Where Keycloak is not there, or does not know us, every question is "cannot tell", and soon at once."""
    url = f"http://127.0.0.1:{free_port()}" if fault == "nobody listens" else realm.server.url
    strangers = replace(realm.wanted, reader=replace(realm.wanted.reader, secret="wrong"))
    async with open_directory(url, strangers, InProcessLeases()) as directory:
        for _ in range(3):
            with pytest.raises(CannotTellError, match="gave keystile-reader no token"):
                await directory.find("nobody")
        with pytest.raises(CannotTellError, match="out of reach"):
            await directory.owner("nobody")


async def test_first_lookups_share_one_token(realm: Realm, directory: KeycloakDirectory) -> None:
    """Ten look-ups at once in a fresh process ask for one token and one canary."""
    mark = realm.server.mark()
    await asyncio.gather(*(directory.find(f"nobody{i}") for i in range(10)))
    requests = [line for line in realm.server.requests_since(mark) if realm.wanted.realm in line]
    assert (sum("/token" in request for request in requests), len(requests)) == (1, 12)


async def test_deleted_owner_is_gone(realm: Realm, directory: KeycloakDirectory) -> None:
    """Of a deleted user nothing is found, and nothing can be changed."""
    owner_id, record = realm.add_user(), a_record()
    await directory.update(owner_id, adding(record))
    realm.admin.delete_user(owner_id)
    assert await directory.find(record.key_id) == ()
    assert await directory.owner(owner_id) is None
    with pytest.raises(OwnerUnknownError):
        await directory.update(owner_id, lambda owner: owner)


async def test_sign_out_everywhere_is_shown(realm: Realm, directory: KeycloakDirectory) -> None:
    """An owner's `notBefore` is the later one of theirs and the realm's, which ends our own tokens too."""
    owner_id, other_id = realm.add_user(), realm.add_user()
    realm.admin.user_logout(owner_id)
    signed_out = await directory.owner(owner_id)
    assert signed_out is not None
    assert signed_out.not_before > 0
    realm.admin.update_realm(realm.wanted.realm, {"notBefore": signed_out.not_before})
    assert await directory.refresh_realm() == signed_out.not_before
    other = await directory.owner(other_id)
    assert other is not None
    assert other.not_before == signed_out.not_before


@pytest.mark.parametrize(("left", "told"), [([], "lacks view-users"), (["query-users"], "canary is not found")])
async def test_reader_without_its_role_cannot_tell(own_realm: Realm, left: list[str], told: str) -> None:
    """A reader that lost its role says "cannot tell" and alerts, also where Keycloak shows it an empty list."""
    admin, record = own_realm.admin, a_record()
    owner_id = own_realm.add_user()
    account = admin.get_user_id("service-account-keystile-reader")
    management = admin.get_client_id("realm-management")
    assert account
    assert management
    async with own_realm.directory() as directory:
        await directory.update(owner_id, adding(record))
    admin.delete_client_roles_of_user(account, management, admin.get_client_roles_of_user(account, management))
    if left:
        admin.assign_client_role(account, management, [admin.get_client_role(management, role) for role in left])
    async with own_realm.directory() as directory:
        for lookup in (record.key_id, "nobody"):
            with pytest.raises(CannotTellError):
                await directory.find(lookup)
        with pytest.raises(CannotTellError):
            await directory.owner_named("nobody")
    assert [told in alert for alert in own_realm.alerts] == [True]


async def test_older_record_is_read_and_kept_verbatim(realm: Realm, directory: KeycloakDirectory) -> None:
    """An older record is read with what stands beside it; it and what nobody can read survive an update."""
    owner_id = realm.add_user(attributes=OLDER)
    updated = await directory.update(owner_id, adding(a_record()))
    older = updated.record("Old-1")
    assert older is not None
    assert (older.name, older.bcrypt, older.older_hash) == ("laptop", BCRYPT, "ab" * 32)
    assert (older.issued_at, older.expires_at) == (
        datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
        datetime(2034, 1, 2, 1, 4, 5, tzinfo=UTC),
    )
    assert {kept.text for kept in updated.unreadable} == {"scribble", '{"v":99,"id":"futurefuture"}'}
    stored = attributes(realm, owner_id)
    assert set(OLDER["apiKeys"]) < set(stored["apiKeys"])
    assert {name: sorted(stored[name]) for name in OLDER if name != "apiKeys"} == {
        name: values for name, values in OLDER.items() if name != "apiKeys"
    }


async def test_revoked_older_record_leaves_its_old_form(realm: Realm, directory: KeycloakDirectory) -> None:
    """Revoking an older key replaces its value and removes what stood beside it, and nothing else."""
    owner_id = realm.add_user(attributes=OLDER)

    def revoke(owner: Owner) -> Owner:
        older = owner.record("Old-1")
        assert older is not None
        return owner.with_record(older.revoked(NOW, RevocationReason.UNSPECIFIED, 1))

    owner = await directory.update(owner_id, revoke)
    assert [record.status for record in owner.records] == [Status.REVOKED]
    assert await directory.find("Old-1") == (owner,)
    stored = attributes(realm, owner_id)
    assert not any(value.startswith("key:") for value in stored["apiKeys"])
    assert set(stored) == {"apiKeys", "apiKeyLookup", "dept"}


async def test_older_record_whose_expiry_is_hidden_is_unreadable(own_realm: Realm) -> None:
    """Where the profile hides what stands beside an older key it proves nothing: it could have expired."""
    owner_id = own_realm.add_user(attributes=OLDER)
    own_realm.change_profile(unmanagedAttributePolicy=None)
    async with own_realm.directory() as directory:
        owner = await directory.owner(owner_id)
    assert owner is not None
    assert not owner.records
    assert "Old-1" in {kept.key_id for kept in owner.unreadable}


async def test_late_write_does_not_undo_a_revocation(realm: Realm) -> None:
    """A write given up on that lands after a revocation is noticed, and the revocation written again."""
    owner_id, record, undone = realm.add_user(), a_record(), asyncio.Event()
    leases, relay = InProcessLeases(), Relay(realm.server)
    async with relay.open(), realm.directory(leases, url=relay.url, alert=lambda _: undone.set()) as directory:
        await directory.update(owner_id, adding(record))
        relay.holds = True
        with pytest.raises(CannotTellError):
            await directory.update(owner_id, adding(a_record()))
        relay.holds = False
        assert await leases.take(f"owner:{owner_id}", 1) is None  # nobody else may write meanwhile
        dead = record.revoked(NOW, RevocationReason.KEY_COMPROMISE, 2)
        await directory.update(owner_id, adding(dead), urgent=True)
        relay.let_go.set()
        async with asyncio.timeout(20):
            await undone.wait()
        owner = await directory.update(owner_id, lambda owner: owner, urgent=True)  # waits for the one that mends
    assert owner.record(record.key_id) == dead


async def findings(realm: Realm) -> set[str]:
    """Return what doctor finds wrong."""
    clients = [realm.client(client) for client in (realm.wanted.reader, realm.wanted.writer, realm.wanted.tokens)]
    found = await diagnose(*clients, older_keys=True)
    for client in clients:
        await client.close()
    assert all(finding.fix for finding in found if not finding.ok)
    return {finding.what for finding in found if not finding.ok}


async def test_realm_that_is_set_up_stays_as_it_is(realm: Realm) -> None:
    """After one set-up nothing is wrong, and another one changes nothing."""
    assert await findings(realm) == set()
    assert realm.set_up() == []


async def test_setup_mends_what_drifted_and_leaves_the_rest(own_realm: Realm) -> None:
    """Whatever was spoilt is found by doctor and mended by set-up, and what is none of ours stays as it is."""
    admin, name = own_realm.admin, own_realm.wanted.realm
    clients = {client["clientId"]: client["id"] for client in admin.get_clients()}
    accounts = {role: str(admin.get_user_id(f"service-account-keystile-{role}")) for role in ("reader", "writer")}
    management = clients["realm-management"]
    admin.update_client(clients["keystile-tokens"], {"fullScopeAllowed": True})
    admin.update_user(accounts["writer"], {"attributes": {}})
    admin.delete_client_roles_of_user(accounts["reader"], management, [admin.get_client_role(management, "view-realm")])
    admin.assign_client_role(accounts["writer"], management, [admin.get_client_role(management, "manage-realm")])
    dept = {"name": "dept", "permissions": {"view": ["user"], "edit": ["user"]}, "multivalued": False}
    ours = {"name": "apiKeys", "permissions": {"view": ["admin", "user"], "edit": ["admin"]}, "multivalued": True}
    own_realm.change_profile(attributes=[*admin.get_realm_users_profile()["attributes"][:4], dept, ours])
    kept = {**admin.get_realm(name)["attributes"], "ours": "kept"}
    admin.update_realm(name, {"enabledEventTypes": ["LOGIN"], "adminEventsDetailsEnabled": True, "attributes": kept})
    assert await findings(own_realm) == {
        "not so: attribute apiKeys is declared, for administrators alone",
        "not so: attribute apiKeyLookup is declared, for administrators alone",
        "not so: client keystile-reader has the roles view-events, view-realm, view-users",
        "client keystile-writer may do more than it needs",
        "not so: the realm keeps the events Keystile follows",
        "not so: admin events are kept without details",
        "not so: the reader finds the canary",
        "not so: client keystile-tokens has full scope off",
    }
    assert len(own_realm.set_up()) == 6
    assert await findings(own_realm) == {"client keystile-writer may do more than it needs"}
    realm = admin.get_realm(name)
    assert (realm["attributes"], "LOGIN" in realm["enabledEventTypes"]) == (kept, True)
    assert dept in admin.get_realm_users_profile()["attributes"]


async def test_setup_warns_of_attributes_that_users_can_write(own_realm: Realm) -> None:
    """A profile open to users' own attributes is left alone and warned of: others may rely on it."""
    own_realm.change_profile(unmanagedAttributePolicy="ENABLED")
    assert [line.startswith("WARNING") for line in own_realm.set_up()] == [True]
    assert own_realm.admin.get_realm_users_profile()["unmanagedAttributePolicy"] == "ENABLED"
    assert await findings(own_realm) == {"users can write undeclared attributes of their own"}


async def test_setup_says_why_it_cannot(realm: Realm) -> None:
    """A missing realm, a wrong password and a dead address are told apart in one line each."""
    missing = replace(realm.wanted, realm="nowhere", create_realm=False)
    with pytest.raises(ConfigurationError, match="no realm 'nowhere'"):
        await setup(realm.access, missing)
    with pytest.raises(ConfigurationError, match="Invalid user credentials"):
        await setup(replace(realm.access, password="wrong"), realm.wanted)
    with pytest.raises(ConfigurationError, match="does not answer"):
        await setup(replace(realm.access, url=f"http://127.0.0.1:{free_port()}"), realm.wanted)
