"""python-keycloak's connection with its faults mended: one token renewal at a time, ahead of time, short waits."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any

import jwt
from keycloak import KeycloakError, KeycloakOpenIDConnection

from keystile.adapters.keycloak.failures import NothingDoneError, token_refused

if TYPE_CHECKING:
    from keystile.adapters.keycloak.access import ClientAccess

TIMEOUT = 2  # seconds for each of connecting, sending and hearing; python-keycloak's own is 60
_CONNECTIONS = 16
_RENEW_AT = 0.75  # of a token's life


class MendedConnection(KeycloakOpenIDConnection):
    """The connection of one client; made at start-up, because building TLS contexts blocks for 35-65 ms each.

    Ours is a clock nobody steps; what the server's says is learnt with each token.
    """

    def __init__(self, access: ClientAccess) -> None:
        self._ahead = time.time() - time.monotonic()
        self._due_at = math.inf
        self._renewal = asyncio.Lock()
        super().__init__(
            server_url=access.url.rstrip("/") + "/",
            realm_name=access.realm,
            client_id=access.client.id,
            client_secret_key=access.client.secret,
            grant_type="client_credentials",
            verify=access.verify,
            timeout=TIMEOUT,
            pool_maxsize=_CONNECTIONS,
        )
        self.token_lifetime_fraction = _RENEW_AT
        self._openid = self.keycloak_openid  # makes the second http client now

    async def a__refresh_if_required(self) -> None:
        """Have a token that lives a while yet; of many callers one renews it and the others wait."""
        if self._is_due():
            async with self._renewal:
                if self._is_due():
                    await self._renew()

    async def a_refresh_token(self) -> None:
        """Renew a token that was refused; python-keycloak calls this after a 401, and then asks once more."""
        refused = self.token
        async with self._renewal:
            if self.token is refused:
                await self._renew()

    async def claims(self) -> dict[str, Any]:
        """Return what our own token says."""
        await self.a__refresh_if_required()
        return _claims((self.token or {})["access_token"])

    async def certs(self) -> dict[str, Any]:
        """Return the keys the realm publishes (RFC 7517)."""
        return await self._openid.a_certs()

    async def aclose_both(self) -> None:
        """Close both http clients; python-keycloak's own close forgets the one that fetches tokens."""
        await self.aclose()
        await self._openid.connection.aclose()

    def server_time(self) -> float:
        """Return now, in epoch seconds, by the server's clock as far as its last token tells it."""
        return time.monotonic() + self._ahead

    def _is_due(self) -> bool:
        return self.token is None or time.monotonic() >= self._due_at

    async def _renew(self) -> None:
        asked_at = time.time()
        try:
            await self.a_get_token()
        except KeycloakError as error:
            raise token_refused(error, str(self.client_id)) from error
        except (KeyError, TypeError, ValueError) as error:  # a proxy's page, with status 200
            raise NothingDoneError("what answers for Keycloak is no token endpoint") from error
        heard_at = time.time()
        if self.expires_at is not None:
            self._due_at = time.monotonic() + self.expires_at.timestamp() - heard_at
        self._ahead = heard_at + self._offset(asked_at, heard_at) - time.monotonic()

    def _offset(self, asked_at: float, heard_at: float) -> float:
        # Keycloak sends no Date header; its tokens tell its time, in whole seconds. Within that grain the clocks
        # count as equal.
        issued_at: int = _claims((self.token or {})["access_token"])["iat"]
        return min(max(0.0, issued_at - heard_at), issued_at + 1 - asked_at)


def _claims(token: str) -> dict[str, Any]:
    # Looks wrong: no signature is checked. Keycloak itself just handed it to us over our own connection, and nobody is
    # let in by it. Depends on: never called with a token that somebody presented.
    return jwt.decode(token, options={"verify_signature": False})
