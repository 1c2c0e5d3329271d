"""One way each to break a live deployment: what is broken when a block begins is whole again when it ends.

A break yields the settings that doctor is to be given beside the deployment's own.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from redis import Redis

from keystile.adapters.keycloak.wanted import MARKED
from keystile.adapters.signing.files import new_pem
from stories.api import Api, by_admin_key

if TYPE_CHECKING:
    from pathlib import Path

    from stories.gateway import Gateway
    from stories.keycloak_world import KeycloakWorld

Settings = Mapping[str, str]


@dataclass(frozen=True)
class Patient:
    """A deployment to be broken, behind a gateway of its own, with one before its Keycloak for who wants it."""

    world: KeycloakWorld
    gateway: Gateway
    keycloak_gateway: Gateway

    @property
    def realm(self) -> str:
        """Its realm's name."""
        return self.world.environment["KEYSTILE_KEYCLOAK_REALM"]

    @property
    def data(self) -> Path:
        """Its data folder."""
        return self.world.folder / "data"

    def client(self, client_id: str) -> str:
        """Return the id by which Keycloak's API knows that client."""
        return str(self.world.admin.get_client_id(client_id))

    def account(self, client_id: str) -> str:
        """Return the id of that client's service account."""
        return str(self.world.admin.get_user_id(f"service-account-{client_id}"))

    @property
    def api(self) -> Api:
        """Its management API, as the operator sees it."""
        return by_admin_key(self.world)

    def end(self, issued: Mapping[str, Any]) -> None:
        """Revoke a key."""
        answer = self.api.ask("DELETE", f"/keys/{issued['key_id']}")
        assert answer.is_success, answer.text


Break = Callable[[Patient], AbstractContextManager[Settings]]


def settings(**changes: str | Callable[[Patient], str]) -> Break:
    """Give doctor other settings, without their prefix."""

    @contextmanager
    def broken(patient: Patient) -> Iterator[Settings]:
        yield {
            f"KEYSTILE_{name}": value if isinstance(value, str) else value(patient) for name, value in changes.items()
        }

    return broken


def profile(**attribute: Any) -> Break:  # noqa: ANN401 - JSON
    """Declare `apiKeys` otherwise; without anything, not at all."""

    @contextmanager
    def broken(patient: Patient) -> Iterator[Settings]:
        admin = patient.world.admin
        whole = admin.get_realm_users_profile()
        ours = next(each for each in whole["attributes"] if each["name"] == "apiKeys")
        others = [each for each in whole["attributes"] if each is not ours]
        admin.update_realm_users_profile(whole | {"attributes": others + ([ours | attribute] if attribute else [])})
        yield {}
        admin.update_realm_users_profile(whole)

    return broken


@contextmanager
def open_profile(patient: Patient) -> Iterator[Settings]:
    """Let users write attributes that nobody declared."""
    admin = patient.world.admin
    whole = admin.get_realm_users_profile()
    admin.update_realm_users_profile(whole | {"unmanagedAttributePolicy": "ENABLED"})
    yield {}
    admin.update_realm_users_profile(whole)


def realm(**fields: Any) -> Break:  # noqa: ANN401 - JSON
    """Set fields of the realm."""

    @contextmanager
    def broken(patient: Patient) -> Iterator[Settings]:
        admin = patient.world.admin
        whole = {name: value for name, value in admin.get_realm(patient.realm).items() if name in fields}
        admin.update_realm(patient.realm, fields)
        yield {}
        admin.update_realm(patient.realm, whole)

    return broken


@contextmanager
def realm_of_another_name(patient: Patient) -> Iterator[Settings]:
    """Give the realm a public address."""
    admin = patient.world.admin
    attributes = admin.get_realm(patient.realm)["attributes"]
    admin.update_realm(patient.realm, {"attributes": attributes | {"frontendUrl": "https://id.example.com"}})
    yield {}
    admin.update_realm(patient.realm, {"attributes": attributes | {"frontendUrl": ""}})


def client(client_id: str, **fields: Any) -> Break:  # noqa: ANN401 - JSON
    """Set fields of one of our clients."""

    @contextmanager
    def broken(patient: Patient) -> Iterator[Settings]:
        admin, uuid = patient.world.admin, patient.client(client_id)
        whole = {name: value for name, value in admin.get_client(uuid).items() if name in fields}
        admin.update_client(uuid, fields)
        yield {}
        admin.update_client(uuid, whole)

    return broken


def roles(client_id: str, *, give: str = "", take: str = "") -> Break:
    """Give the client a role of realm-management, or take one from it."""

    @contextmanager
    def broken(patient: Patient) -> Iterator[Settings]:
        admin, management = patient.world.admin, patient.client("realm-management")
        account = patient.account(client_id)
        role = [admin.get_client_role(management, give or take)]
        changes = [admin.assign_client_role, admin.delete_client_roles_of_user]
        there, back = changes if give else reversed(changes)
        there(account, management, role)
        yield {}
        back(account, management, role)

    return broken


@contextmanager
def no_marks(patient: Patient) -> Iterator[Settings]:
    """Take from the reader what says that roles are marked."""
    admin = patient.world.admin
    account, role = patient.account("keystile-reader"), [admin.get_realm_role(MARKED)]
    admin.delete_realm_roles_of_user(account, role)
    yield {}
    admin.assign_realm_roles(account, role)


@contextmanager
def no_canary(patient: Patient) -> Iterator[Settings]:
    """Take the canary away."""
    admin = patient.world.admin
    account = admin.get_user(patient.account("keystile-writer"))
    admin.update_user(account["id"], account | {"attributes": {}})
    yield {}
    admin.update_user(account["id"], account)


def redis(name: str, value: str) -> Break:
    """Set a parameter of the running Redis."""

    @contextmanager
    def broken(patient: Patient) -> Iterator[Settings]:
        with Redis.from_url(patient.world.redis.url) as server:
            whole = server.config_get(name)[name]
            server.config_set(name, value)
            yield {}
            server.config_set(name, whole)

    return broken


@contextmanager
def secretive_redis(patient: Patient) -> Iterator[Settings]:
    """Reach Redis as somebody who may not ask how it is configured."""
    with Redis.from_url(patient.world.redis.url) as server:
        server.acl_setuser("modest", enabled=True, passwords=["+pw"], keys=["*"], categories=["+@all"])
        server.execute_command("ACL SETUSER modest -config &*")
        yield {"KEYSTILE_REDIS_URL": patient.world.redis.url.replace(f":{patient.world.redis.password}@", "modest:pw@")}
        server.acl_deluser("modest")


def key(policy: Mapping[str, Any], **more: str) -> Break:
    """Issue a key with that policy."""

    @contextmanager
    def broken(patient: Patient) -> Iterator[Settings]:
        issued = patient.api.issue(owner=patient.world.add_user(), **policy)
        yield {f"KEYSTILE_{name}": value for name, value in more.items()}
        patient.end(issued)

    return broken


@contextmanager
def copied_key(patient: Patient) -> Iterator[Settings]:
    """Let an administrator copy somebody's attributes to somebody else."""
    world = patient.world
    victim = world.add_user("victim")
    issued = patient.api.issue(owner=victim)
    thief = world.add_user("thief", attributes=world.user(victim)["attributes"])
    yield {}
    world.admin.delete_user(world.user(thief)["id"])
    patient.end(issued)


def older_key(**more: str) -> Break:
    """Have a key of the older form, without a hash beside it."""

    @contextmanager
    def broken(patient: Patient) -> Iterator[Settings]:
        attributes = {"apiKeys": ["key:old1:$2b$12$" + "b" * 53], "apiKey_old1_name": ["laptop"]}
        owner = patient.world.add_user(attributes=attributes)
        yield {f"KEYSTILE_{name}": value for name, value in more.items()}
        patient.world.admin.delete_user(patient.world.user(owner)["id"])

    return broken


def file(path: str, text: str) -> Break:
    """Put a file into the data folder."""

    @contextmanager
    def broken(patient: Patient) -> Iterator[Settings]:
        (patient.data / path).parent.mkdir(exist_ok=True, mode=0o700)
        (patient.data / path).write_text(text)
        yield {}
        (patient.data / path).unlink()

    return broken


def mode(path: str, number: int) -> Break:
    """Change who may do what with a file or folder of the data folder."""

    @contextmanager
    def broken(patient: Patient) -> Iterator[Settings]:
        changed = patient.data / path
        whole = changed.stat().st_mode
        changed.chmod(number)
        yield {}
        changed.chmod(whole)

    return broken


def signing_keys(make: Callable[[Path], object]) -> Break:
    """Point doctor to another folder of signing keys: a copy, with what *make* does to it."""

    @contextmanager
    def broken(patient: Patient) -> Iterator[Settings]:
        folder = patient.world.folder / "copied-keys"
        shutil.copytree(patient.data / "signing-keys", folder)
        make(folder)
        yield {"KEYSTILE_SIGNING_KEYS_DIR": str(folder)}
        shutil.rmtree(folder)

    return broken


def another_key(folder: Path) -> None:
    """Put another key in the place of ours."""
    (folder / "rs256.pem").write_bytes(new_pem("RS256"))


def next_key(folder: Path) -> None:
    """Put the next key there, where no running process looks."""
    path = folder / "rs256-2.pem"
    path.write_bytes(new_pem("RS256", datetime(2026, 1, 1, tzinfo=UTC)))
    path.chmod(0o600)


def gateway(forgotten: str) -> Break:
    """Let the gateway in front of Keystile forget a path."""

    @contextmanager
    def broken(patient: Patient) -> Iterator[Settings]:
        patient.gateway.forgotten = forgotten
        yield {}
        patient.gateway.forgotten = ""

    return broken


@contextmanager
def no_realm_keys(patient: Patient) -> Iterator[Settings]:
    """Reach Keycloak through a gateway that forgets the realm's keys."""
    patient.keycloak_gateway.forgotten = "/certs"
    yield {"KEYSTILE_KEYCLOAK_URL": patient.keycloak_gateway.url}
    patient.keycloak_gateway.forgotten = ""
