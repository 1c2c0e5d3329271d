"""The one place that calls Keycloak's admin API: bounded in time and number, every failure a word of our own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from keycloak import KeycloakAdmin, KeycloakError
from keycloak.exceptions import KeycloakGetError, raise_error_from_response

from keystile.adapters.keycloak.alerts import Alerts
from keystile.adapters.keycloak.connection import MendedConnection
from keystile.adapters.keycloak.failures import CredentialsRefusedError, NothingDoneError, RoleMissingError, meaning_of
from keystile.adapters.keycloak.wanted import IDENTITY_PROVIDER
from keystile.authority.breaker import Breaker
from keystile.errors import CannotTellError, ChangeRefusedError, OwnerUnknownError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from keystile.adapters.keycloak.access import ClientAccess
    from keystile.errors import KeystileError

DEADLINE = 3.0  # seconds for one call, a token renewal included
_SEE_USERS = "view-users (or manage-users)"
_SEE_CLIENTS = "view-clients"
_SEE_EVENTS = "view-events"
_Answer = TypeVar("_Answer")
Representation = dict[str, Any]


class KeycloakClient:
    """Calls as one client of the realm. Every method raises `CannotTellError` unless it says more.

    *alert* is told, at most twice a minute, what an operator must mend. *breaker* may be shared between clients.
    """

    def __init__(self, access: ClientAccess, *, alert: Callable[[str], None], breaker: Breaker | None = None) -> None:
        self.id = access.client.id
        self.realm = access.realm
        self._connection = MendedConnection(access)
        self._admin = KeycloakAdmin(connection=self._connection)
        self._breaker = breaker or Breaker("Keycloak")
        self._alert = Alerts(alert)

    def server_time(self) -> float:
        """Return now by Keycloak's clock, as far as its last token tells it."""
        return self._connection.server_time()

    async def claims(self) -> Representation:
        """Return the claims of our own token."""
        return await self._ask("", self._connection.claims)

    async def users(self, **query: str | int | bool) -> list[Representation]:
        """Return the users that *query* names; it must hold `max`, or python-keycloak pages through everything."""
        return await self._ask(_SEE_USERS, self._admin.a_get_users, {"briefRepresentation": False, **query})

    async def user(self, user_id: str, *, metadata: bool = False) -> Representation | None:
        """Return that user, with *metadata* also the profile's view of the attributes; None if there is none."""
        try:
            user: Representation = await self._ask(
                _SEE_USERS, self._admin.a_get_user, _segment(user_id), user_profile_metadata=metadata
            )
        except OwnerUnknownError:
            return None
        return user if user.get("id") == user_id else None  # some words after users/ are no ids: profile, count

    async def realm_roles_of(self, user_id: str) -> list[Representation]:
        """Return the realm roles that user has, by whatever way; raises `OwnerUnknownError`."""
        return await self._ask(_SEE_USERS, self._admin.a_get_composite_realm_roles_of_user, _segment(user_id))

    async def groups_of(self, user_id: str) -> list[Representation]:
        """Return the groups that user is a member of; raises `OwnerUnknownError`."""
        return await self._ask(_SEE_USERS, self._admin.a_get_user_groups, _segment(user_id))

    async def client_roles_of(self, user_id: str, client: str) -> list[Representation]:
        """Return the roles of *client* that user has, by whatever way; raises `OwnerUnknownError`."""
        uuid = await self._ask(_SEE_CLIENTS, self._admin.a_get_client_id, client)
        if uuid is None:
            raise CannotTellError(f"the realm shows no client {client}")
        method = self._admin.a_get_composite_client_roles_of_user
        return await self._ask(f"{_SEE_USERS} and {_SEE_CLIENTS}", method, _segment(user_id), uuid)

    async def client(self, client_id: str) -> Representation | None:
        """Return how the realm has that client, None if it has none."""
        uuid = await self._ask(_SEE_CLIENTS, self._admin.a_get_client_id, client_id)
        return None if uuid is None else await self._ask(_SEE_CLIENTS, self._admin.a_get_client, uuid)

    async def certs(self) -> Representation:
        """Return the keys with which the realm signs its tokens."""
        return await self._ask("", self._connection.certs)

    async def put_user(self, user_id: str, user: Representation) -> None:
        """Replace what *user* holds; raises `OwnerUnknownError`, or `ChangeRefusedError` with Keycloak's reason.

        A `NothingDoneError` means that nothing changed; any other `CannotTellError`, that it may have, or still may.
        """
        await self._ask("manage-users", self._admin.a_update_user, _segment(user_id), user)

    async def create_user(self, user: Representation) -> str:
        """Create a user and return its id; raises `ChangeRefusedError` if the name is taken."""
        return await self._ask("manage-users", self._admin.a_create_user, user)

    async def take_realm_roles(self, user_id: str) -> None:
        """Take from that user every realm role it was given itself, the realm's default roles among them."""
        given = await self._ask("manage-users", self._admin.a_get_realm_roles_of_user, _segment(user_id))
        if given:
            await self._ask("manage-users", self._admin.a_delete_realm_roles_of_user, _segment(user_id), given)

    async def leave_groups(self, user_id: str) -> None:
        """Take that user out of every group, those the realm puts everybody into among them."""
        for group in await self.groups_of(user_id):
            await self._ask("manage-users", self._admin.a_group_user_remove, _segment(user_id), group["id"])

    async def link(self, user_id: str) -> None:
        """Link that user, under its own id, to our identity provider; raises what `put_user` does."""
        method = self._admin.a_add_user_social_login
        await self._ask("manage-users", method, _segment(user_id), IDENTITY_PROVIDER, user_id, user_id)

    async def unlink(self, user_id: str) -> None:
        """End that user's link to our identity provider; raises `OwnerUnknownError`."""
        await self._ask("manage-users", self._admin.a_delete_user_social_login, _segment(user_id), IDENTITY_PROVIDER)

    async def profile(self) -> Representation:
        """Return the realm's user profile: which attributes are declared, and what becomes of others."""
        return await self._ask("view-realm", self._admin.a_get_realm_users_profile)

    async def realm_settings(self) -> Representation:
        """Return the realm, as far as our roles let us see it."""
        return await self._ask("view-realm", self._admin.a_get_realm, self.realm)

    async def events_config(self) -> Representation:
        """Return which events the realm keeps."""
        return await self._ask(_SEE_EVENTS, self._events_config)

    async def admin_events(self, **query: str | int) -> list[Representation]:
        """Return one page of admin events."""
        return await self._ask(_SEE_EVENTS, self._admin.a_get_admin_events, dict(query))

    async def user_events(self, **query: str | int | list[str]) -> list[Representation]:
        """Return one page of user events."""
        return await self._ask(_SEE_EVENTS, self._admin.a_get_events, dict(query))

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.aclose_both()

    async def _events_config(self) -> Representation:
        answer = await self._connection.a_raw_get(f"admin/realms/{self.realm}/events/config")
        document = raise_error_from_response(answer, KeycloakGetError)
        if not isinstance(document, dict):
            raise TypeError("the events config is no object")
        return document

    async def _ask(
        self, needs: str, method: Callable[..., Awaitable[_Answer]], *arguments: object, **named: object
    ) -> _Answer:
        began_at = self._check_breaker()
        try:
            async with asyncio.timeout(DEADLINE):
                answer = await method(*arguments, **named)
        except (TimeoutError, CannotTellError, TypeError, ValueError) as error:
            self._breaker.failed(began_at)
            if isinstance(error, CredentialsRefusedError):
                self._alert(str(error))
            if isinstance(error, CannotTellError):
                raise
            raise CannotTellError("Keycloak did not answer in time, or not as itself") from error
        except KeycloakError as error:
            raise self._judged(error, needs, began_at) from error
        self._breaker.succeeded(began_at)
        return answer

    def _judged(self, error: KeycloakError, needs: str, began_at: float) -> KeystileError:
        meaning = meaning_of(error, self.id, needs)
        if isinstance(meaning, RoleMissingError):
            self._alert(str(meaning))
        if isinstance(meaning, RoleMissingError | ChangeRefusedError):
            self._breaker.succeeded(began_at)
        else:
            self._breaker.failed(began_at)
        return meaning

    def _check_breaker(self) -> float:
        try:
            return self._breaker.check()
        except CannotTellError as error:
            raise NothingDoneError(str(error), retry_after=error.retry_after) from error


def _segment(user_id: str) -> str:
    # An id is put into a path: "", "." and ".." would be other resources, and a slash another path.
    if not user_id.strip("."):
        raise OwnerUnknownError("that is no user id")
    return quote(user_id, safe="")
