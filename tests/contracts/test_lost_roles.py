"""A whole deployment on a real Keycloak and Redis: what a lost role, and a disabled user, ends, and how soon."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from keycloak import KeycloakOpenID
from pydantic import SecretStr

from contracts.keycloak_fixtures import Realm, make_realm
from keystile.authority.lifecycle import KeyRequest
from keystile.errors import KeyRefusedError, Reason, RightsError
from keystile.peppers import new_pepper
from keystile.policy import RequestContext
from keystile.restrictions import Policy
from keystile.rights import Action, Relation, Role
from keystile.settings import Settings, Store
from keystile.wiring import open_deployment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from keystile.assembly import Deployment
    from stack import KeycloakServer

PASSWORD = "correct horse battery staple"
BOUND = 5.0  # seconds, for changes made in Keycloak


@dataclass
class Deployed:
    """A deployment, its realm, and an owner in a group that has the roles."""

    deployment: Deployment
    realm: Realm
    owner: str
    username: str
    group: str
    role: str

    def context(self, **asked: Any) -> RequestContext:  # noqa: ANN401 - fields
        """Return the context of a request."""
        return RequestContext(rules=self.deployment.rules, door="api", address="192.0.2.1", **asked)

    async def issue(self, *scopes: str) -> str:
        """Issue a key for the owner and return its text."""
        request = KeyRequest(owner=self.username, name="n", issued_by="test", policy=Policy(scopes=scopes))
        return (await self.deployment.lifecycle.issue(request)).key.reveal()

    async def gives(self, key: str, scopes: set[str]) -> bool:
        """Tell whether the key gives just these scopes when nothing is named."""
        verdict = await self.deployment.verifier.verify(key, self.context())
        return set((await self.deployment.exchange.mint(verdict, self.context())).granted.scopes) == scopes

    async def is_admin(self, key: str) -> bool:
        """Tell whether whoever presents that credential is an admin."""
        caller = await self.deployment.callers.identify(key, self.context(), writing=True)
        return Role.ADMIN in caller.roles

    async def is_no_admin(self, key: str) -> bool:
        """Tell the contrary."""
        return not await self.is_admin(key)

    def sign_in(self) -> str:
        """Return an access token of the owner."""
        app = KeycloakOpenID(f"{self.realm.server.url}/", self.realm.wanted.realm, "console")
        return str(app.token(self.username, PASSWORD)["access_token"])


@pytest.fixture
async def deployed(keycloak_server: KeycloakServer, redis_url: str, tmp_path: Path) -> AsyncIterator[Deployed]:
    bare, role = make_realm(keycloak_server), secrets.token_hex(4)
    bare.admin.create_client({"clientId": "console", "publicClient": True, "directAccessGrantsEnabled": True})
    realm = Realm(keycloak_server, replace(bare.wanted, api_clients=("console",)))
    realm.set_up()
    admin = realm.admin
    owner = realm.add_user(credentials=[{"type": "password", "value": PASSWORD, "temporary": False}])
    group = str(admin.create_group({"name": "ops"}))
    admin.create_realm_role({"name": role})
    admin.assign_group_realm_roles(group, [admin.get_realm_role(role)])
    admin.group_user_add(owner, group)
    settings = Settings(  # type: ignore[call-arg]  # the rest has defaults
        store=Store.KEYCLOAK,
        data_dir=tmp_path,
        keycloak_url=keycloak_server.url,
        keycloak_realm=realm.wanted.realm,
        keycloak_reader_secret=SecretStr(realm.wanted.reader.secret),
        keycloak_writer_secret=SecretStr(realm.wanted.writer.secret),
        redis_url=SecretStr(redis_url),
        peppers=SecretStr(new_pepper()),
        scopes=("read", f"deploy@role:{role}", "ops@group:/ops"),
        api_clients=("console",),
        signing_alg="EdDSA",
    )
    username = str(admin.get_user(owner)["username"])
    async with open_deployment(settings, serving=True) as deployment:
        await within(20, lambda: asyncio.to_thread(lambda: not deployment.degraded()))  # events are followed
        yield Deployed(deployment, realm, owner, username, group, role)


async def within(seconds: float, true: Callable[[], Awaitable[bool]]) -> None:
    """Wait until that is so, for so long at most."""
    ends_at = time.monotonic() + seconds
    while not await true():
        assert time.monotonic() < ends_at
        await asyncio.sleep(0.1)


async def test_lost_role_loses_its_scope_within_the_bound(deployed: Deployed) -> None:
    """A group loses a role, which names no user: the scope is gone in five seconds, in JWTs handed out too."""
    key = await deployed.issue("read", "deploy", "ops")
    context = deployed.context(scopes=("deploy",))
    verdict = await deployed.deployment.verifier.verify(key, context)
    token = (await deployed.deployment.exchange.mint(verdict, context)).token
    assert await deployed.deployment.jwts.verify(token, deployed.context())
    assert await deployed.gives(key, {"read", "deploy", "ops"})
    admin = deployed.realm.admin
    admin.delete_group_realm_roles(deployed.group, [admin.get_realm_role(deployed.role)])
    await within(BOUND, lambda: deployed.gives(key, {"read", "ops"}))
    with pytest.raises(KeyRefusedError) as killed:
        await deployed.deployment.jwts.verify(token, deployed.context())
    assert killed.value.reason is Reason.JWT_KILLED
    admin.group_user_remove(deployed.owner, deployed.group)
    await within(BOUND, lambda: deployed.gives(key, {"read"}))


async def test_keys_admin_counts_while_the_owner_is_one(deployed: Deployed) -> None:
    """A key with `keys:admin` opens the API as an admin's only while its owner has the role in Keycloak."""
    key, admin = await deployed.issue("keys:admin", "keys:read"), deployed.realm.admin
    callers = deployed.deployment.callers
    assert (await callers.identify(key, deployed.context(), writing=True)).roles == {Role.OWNER_READ}
    client = str(admin.get_client_id("keystile"))
    admin.assign_client_role(deployed.owner, client, [admin.get_client_role(client, "key-admin")])
    await within(BOUND, lambda: deployed.is_admin(key))
    asked = deployed.context(audience=deployed.deployment.rules.api_audience, scopes=("keys:admin",))
    verdict = await deployed.deployment.verifier.verify(key, asked)
    token = (await deployed.deployment.exchange.mint(verdict, asked)).token
    assert (await callers.identify(token, deployed.context(), writing=True)).roles == {Role.ADMIN}
    admin.delete_client_roles_of_user(deployed.owner, client, [admin.get_client_role(client, "key-admin")])
    await within(BOUND, lambda: deployed.is_no_admin(key))
    with pytest.raises(KeyRefusedError):
        await callers.identify(token, deployed.context(), writing=True)


async def test_user_of_the_realm_writes_while_enabled(deployed: Deployed) -> None:
    """A user's own token is enough to come in; a role lost counts at the next write, and so does being disabled."""
    admin, callers = deployed.realm.admin, deployed.deployment.callers
    client = str(admin.get_client_id("keystile"))
    role = admin.get_client_role(client, "key-admin")
    admin.assign_client_role(deployed.owner, client, [role])
    token = deployed.sign_in()
    caller = await callers.identify(token, deployed.context(), writing=True)
    assert (caller.subject, caller.actor) == (deployed.owner, f"realm:{deployed.username}")
    assert Role.ADMIN in caller.roles
    owner = await deployed.deployment.lifecycle.directory.owner(deployed.owner)
    assert owner is not None
    with pytest.raises(RightsError):
        await deployed.deployment.administration.impersonation.check(
            caller, Action.ISSUE, owner, Relation.ANY, context=deployed.context()
        )
    admin.delete_client_roles_of_user(deployed.owner, client, [role])
    assert Role.ADMIN not in (await callers.identify(token, deployed.context(), writing=True)).roles
    await deployed.deployment.administration.impersonation.check(
        caller, Action.ISSUE, owner, Relation.ANY, context=deployed.context()
    )
    admin.user_logout(deployed.owner)
    with pytest.raises(KeyRefusedError) as killed:
        await callers.identify(token, deployed.context(), writing=True)
    assert killed.value.reason is Reason.JWT_KILLED
    admin.disable_user(deployed.owner)
    with pytest.raises(KeyRefusedError) as refused:
        await callers.identify(token, deployed.context(), writing=True, urgent=True)
    assert refused.value.reason is Reason.OWNER_DISABLED
