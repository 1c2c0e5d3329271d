"""Keycloak as the directory: owners are its users, and one indexed query finds the owner of a key."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from keystile.adapters.keycloak.aftercare import PAUSES, Aftercare
from keystile.adapters.keycloak.alerts import Alerts
from keystile.adapters.keycloak.attributes import CANARY, LOOKUPS, RECORDS, attributes_of, padded, to_owner
from keystile.adapters.keycloak.canary import Canary
from keystile.adapters.keycloak.turns import Turns
from keystile.adapters.keycloak.wanted import API_CLIENT, MANAGEMENT, MARKED
from keystile.adapters.keycloak.writing import write
from keystile.errors import CannotTellError, OwnerUnknownError, RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from keystile.adapters.keycloak.client import KeycloakClient, Representation
    from keystile.ports import Leases, OwnerChange, Ticks
    from keystile.records import Owner

_PAGE = 100
_OVERLAP = 10  # users of a page that the next one shows again, lest one slips through when others are deleted


class KeycloakDirectory:
    """The `Directory` of a realm. Trusted for what it holds: whoever can write its attributes can issue keys.

    *reader* and *writer* are clients of the realm; both stay the caller's to close. *told*: attributes that JWTs tell.
    """

    def __init__(
        self,
        reader: KeycloakClient,
        writer: KeycloakClient,
        leases: Leases,
        *,
        alert: Callable[[str], None],
        ticks: Ticks = time.monotonic,
        pauses: Sequence[float] = PAUSES,
        told: Sequence[str] = (),
    ) -> None:
        alert = Alerts(alert)
        self._alert = alert
        self._reader = reader
        self._writer = writer
        self._ticks = ticks
        self._turns = Turns(leases, ticks=ticks)
        self._canary = Canary(self._sees_canary, alert=alert, ticks=ticks)
        self._aftercare = Aftercare(self.owner, self._mend, alert=alert, ticks=ticks, pauses=pauses)
        self._realm_not_before = 0
        self._told = tuple(told)

    async def find(self, lookup: str) -> tuple[Owner, ...]:
        """See `Directory.find`: one query, and another for the canary at most twice a minute."""
        value = padded(lookup)
        if value is None:
            return ()
        for _ in range(2):
            owners = [self._to_owner(user) for user in await self._having(value)]
            if all(lookup in owner.lookups for owner in owners):
                break
        else:  # in a cluster, a user changed a moment ago is found by new values and shown with old ones
            raise CannotTellError("Keycloak found a user and did not show what it was found by")
        if not owners:
            await self._canary.vouch()
        return tuple(owners)

    async def owner(self, owner_id: str) -> Owner | None:
        """See `Directory.owner`."""
        user = await self._reader.user(owner_id)
        return None if user is None else self._to_owner(user)

    async def owner_named(self, username: str) -> Owner | None:
        """See `Directory.owner_named`."""
        for user in await self._reader.users(username=username, exact=True, max=2):
            if user["username"].casefold() == username.casefold():
                return self._to_owner(user)
        await self._canary.vouch()
        return None

    async def adopt(self, username: str) -> Owner:
        """See `Directory.adopt`: Keycloak's users are made in Keycloak."""
        owner = await self.owner_named(username)
        if owner is None:
            raise OwnerUnknownError(f"the realm {self._reader.realm} has no user {username!r}")
        return owner

    async def owners(self, after: str = "", *, enabled: bool = True) -> tuple[tuple[Owner, ...], str]:
        """See `Directory.owners`: of 100 users those that hold keys; a page may repeat owners."""
        if after and not (after.isascii() and after.isdigit()):
            raise RequestError("invalid_request", "there is no such page")
        first = int(after or 0)
        # `enabled` also makes the listing show service accounts, which it otherwise leaves out.
        users = await self._reader.users(first=first, max=_PAGE, enabled=enabled)
        page = tuple(self._to_owner(user) for user in users if attributes_of(user).get(RECORDS))
        return page, str(first + _PAGE - _OVERLAP) if len(users) == _PAGE else ""

    async def update(self, owner_id: str, change: OwnerChange, *, urgent: bool = False) -> Owner:
        """See `Directory.update`.

        After a write of unknown outcome its lease is left to end by itself. Such an owner, and one changed without a
        lease, is looked at again three times.
        """
        async with self._turns.turn(owner_id, urgent=urgent) as turn:
            try:
                owner = self._to_owner(await write(self._writer, owner_id, change, turn, ticks=self._ticks))
            finally:
                if turn.unsettled or not turn.locked:
                    self._aftercare.watch(owner_id)
            self._aftercare.acknowledged(owner_id, owner.records)
            return owner

    async def roles(self, owner_id: str) -> frozenset[str] | None:
        """See `Directory.roles`. Client roles are seen by their marks: see `wanted.marks`."""
        if not await self._sees_marks():
            self._alert("the realm does not mark its roles: run 'keystile keycloak setup'")
            raise CannotTellError("the realm does not show who holds which role")
        roles, groups = await asyncio.gather(self._reader.realm_roles_of(owner_id), self._reader.groups_of(owner_id))
        return frozenset(role["name"] for role in roles) | {group["path"] for group in groups}

    async def administers(self, owner_id: str) -> bool:
        """See `Directory.administers`: the writer looks, who sees all clients and is as good as an administrator."""
        held = (self._writer.client_roles_of(owner_id, client) for client in (API_CLIENT, MANAGEMENT))
        return any(await asyncio.gather(*held))

    async def refresh_realm(self) -> int:
        """Read the realm's `notBefore` (epoch seconds), from now on the least of every owner's."""
        self._realm_not_before = (await self._reader.realm_settings()).get("notBefore") or 0
        return self._realm_not_before

    async def close(self) -> None:
        """Stop what goes on in the background."""
        await self._aftercare.close()

    async def _sees_marks(self) -> bool:
        # Where set-up has marked no roles, nobody would seem to hold any.
        claims = await self._reader.claims()
        return MARKED in claims.get("realm_access", {}).get("roles", ())

    async def _having(self, lookup_value: str) -> list[Representation]:
        # The index is asked with a value of our own making only: what a client sent never shapes a query.
        return await self._reader.users(q=f"{LOOKUPS}:{lookup_value}", max=2)

    async def _sees_canary(self) -> bool:
        value = padded(CANARY) or ""
        return any(value in attributes_of(user).get(LOOKUPS, ()) for user in await self._having(value))

    async def _mend(self, owner_id: str, change: OwnerChange) -> Owner:
        return await self.update(owner_id, change, urgent=True)

    def _to_owner(self, user: Representation) -> Owner:
        return to_owner(user, realm_not_before=self._realm_not_before, told=self._told)
