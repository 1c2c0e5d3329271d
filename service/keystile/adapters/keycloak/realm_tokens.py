"""The realm's own access tokens, checked here against the keys the realm publishes."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import jwt

from keystile.errors import CannotTellError
from keystile.ports import RealmUser

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

    from keystile.ports import Ticks

AUDIENCE = "keystile"
# Asymmetric ones only: with a symmetric one, whoever knows the public key could sign.
ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
LEEWAY = 10  # seconds the realm's clock may be apart from ours
FRESH_FOR = 300.0  # seconds: a key the realm took away is believed no longer while the realm answers
REST = 10.0  # seconds between two fetches, however many tokens name a key nobody knows
_MAX_TOKEN = 8_192
_REQUIRED = ["exp", "iat", "iss", "aud", "sub"]


class KeycloakRealmTokens:
    """The `RealmTokens` of a realm. Keycloak is trusted for who signs in it: its keys are fetched over its own address.

    *certs* fetches the realm's JWKS, in bounded time. *issuer* is the `iss` of its tokens, *clients* the names of the
    clients whose users may come here, *servers* of those that may come for themselves.
    """

    def __init__(
        self,
        certs: Callable[[], Awaitable[Mapping[str, Any]]],
        *,
        issuer: str,
        clients: Iterable[str],
        servers: Iterable[str] = (),
        ticks: Ticks = time.monotonic,
    ) -> None:
        self._certs = certs
        self._issuer = issuer
        self._clients = frozenset(clients)
        self._servers = frozenset(servers)
        self._ticks = ticks
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fresh_until = float("-inf")
        self._rest_until = float("-inf")
        self._away: CannotTellError | None = None
        self._fetching = asyncio.Lock()

    async def verify(self, token: str) -> RealmUser | None:
        """See `RealmTokens.verify`."""
        claims = await self._good(token, self._clients)
        return None if claims is None else _user(claims)

    async def client(self, token: str) -> str | None:
        """See `RealmTokens.client`."""
        claims = await self._good(token, self._servers)
        return None if claims is None or not _is_of_client_itself(claims) else str(claims["azp"])

    async def _good(self, token: str, clients: Collection[str]) -> dict[str, Any] | None:
        """Return the claims of a good token that one of *clients* got."""
        if not clients or len(token) > _MAX_TOKEN:
            return None
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            key = await self._key(key_id) if isinstance(key_id, str) else None
            claims = None if key is None else self._claims(token, key)
        except jwt.InvalidTokenError:
            return None
        # A token bound to its holder (`cnf`, or `typ` DPoP) is no bearer token: we could not see whether he sends it.
        # ID, refresh and logout tokens are signed by the same keys and say what they are in `typ` too.
        if claims is None or claims.get("typ") != "Bearer" or "cnf" in claims:
            return None
        return claims if str(claims.get("azp")) in clients else None

    def _claims(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        return jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            audience=AUDIENCE,
            issuer=self._issuer,
            leeway=LEEWAY,
            options={"require": _REQUIRED},
        )

    async def _key(self, key_id: str) -> jwt.PyJWK | None:
        if key_id not in self._keys or self._ticks() >= self._fresh_until:
            await self._fetch(key_id)
        key = self._keys.get(key_id)
        if key is None and self._away is not None:
            raise self._away
        return key

    async def _fetch(self, key_id: str) -> None:
        async with self._fetching:
            known = key_id in self._keys and self._ticks() < self._fresh_until
            if known or self._ticks() < self._rest_until:
                return
            self._rest_until = self._ticks() + REST
            try:
                self._keys = _usable(await self._certs())
            except CannotTellError as error:  # the keys of before are good until somebody says otherwise
                self._away = error
                return
            self._away = None
            self._fresh_until = self._ticks() + FRESH_FOR


def _user(claims: dict[str, Any]) -> RealmUser:
    return RealmUser(
        id=claims["sub"],
        username=str(claims.get("preferred_username") or claims["sub"]),
        issued_at=int(claims["iat"]),
        roles=_names(_within(claims, "resource_access", AUDIENCE, "roles")),
        tenants=_names(claims.get("organization")),
    )


def _is_of_client_itself(claims: dict[str, Any]) -> bool:
    """Tell whether a token came by client_credentials.

    The attack: a token of a user names the client it was got by in `azp` too, and whoever receives one would come here
    as that client. `client_id` is there for service accounts alone, whose username nobody else can have.
    """
    client = claims["azp"]
    named = str(claims.get("preferred_username")).lower() == f"service-account-{client}".lower()
    return bool(named and claims.get("client_id") == client)


def _usable(document: Mapping[str, Any]) -> dict[str, jwt.PyJWK]:
    """Return the signature keys of a JWKS by their `kid`, those of other kinds left out."""
    found: dict[str, jwt.PyJWK] = {}
    for each in document.get("keys") or ():
        if each.get("use", "sig") != "sig" or each.get("alg") not in ALGORITHMS or "kid" not in each:
            continue
        try:
            found[each["kid"]] = jwt.PyJWK(each)
        except jwt.PyJWTError:  # an algorithm this library does not know
            continue
    if not found:
        raise CannotTellError("the realm publishes no key that signs")
    return found


def _within(document: Mapping[str, Any], *names: str) -> object:
    found: object = document
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _names(value: object) -> frozenset[str]:
    """Return the texts in a list, or the names in an object: Keycloak writes organizations either way."""
    return frozenset(each for each in value if isinstance(each, str)) if isinstance(value, list | dict) else frozenset()
