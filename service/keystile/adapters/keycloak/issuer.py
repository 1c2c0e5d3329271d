"""The realm as the issuer of JWTs: Keycloak signs what it is asked for by an assertion (RFC 7523, section 2.1)."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jwt
from keycloak import KeycloakConnectionError, KeycloakOpenID

from keystile.adapters.keycloak.alerts import Alerts
from keystile.adapters.keycloak.connection import TIMEOUT
from keystile.errors import CannotTellError, KeyRefusedError, OwnerUnknownError, Reason
from keystile.ports import SignedToken
from keystile.realm_scopes import audience_scope, may_be_asked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from keystile.adapters.keycloak.access import ClientAccess
    from keystile.authority.breaker import Breaker

DEADLINE = 3.0  # seconds for one request
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_CONNECTIONS = 16
_SERVER_FAULT = 500
_OK = 200
_SETUP = "run 'keystile keycloak setup'"
_NOT_LINKED = "User not found"
_NOT_ENABLED = "User is not enabled"


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What Keycloak said no with (RFC 6749, 5.2)."""

    error: str
    description: str


class KeycloakTokenIssuer:
    """The `TokenIssuer` and `RealmSigner` of a realm, which asks as the client `keystile-tokens`.

    Keycloak is trusted for what it signs, not for being set up as we need it: a token that says anything else than what
    was asked for is thrown away. *issuer* is our own, *realm_issuer* the `iss` of its tokens; *assertion* makes an
    assertion about an owner, *link* mends the link by which the realm knows that owner.
    """

    def __init__(
        self,
        access: ClientAccess,
        *,
        issuer: str,
        realm_issuer: str,
        assertion: Callable[[str], str],
        link: Callable[[str], Awaitable[None]],
        alert: Callable[[str], None],
        breaker: Breaker,
    ) -> None:
        self._issuer = issuer
        self._realm_issuer = realm_issuer
        self._assertion = assertion
        self._link = link
        self._alert = Alerts(alert)
        self._breaker = breaker
        self._client = {"client_id": access.client.id, "client_secret": access.client.secret}
        self._endpoints = f"realms/{quote(access.realm, safe='')}/protocol/openid-connect"
        self._openid = KeycloakOpenID(
            server_url=access.url.rstrip("/") + "/",
            realm_name=access.realm,
            client_id=access.client.id,
            verify=access.verify,
            timeout=TIMEOUT,
            pool_maxsize=_CONNECTIONS,
        )

    @property
    def issuer(self) -> str:
        """See `TokenIssuer.issuer`: the service's own, by which it is discovered. Its tokens name the realm's."""
        return self._issuer

    @property
    def kids(self) -> frozenset[str]:
        """See `TokenIssuer.kids`: nothing of the realm's is taken for ours."""
        return frozenset()

    async def mint(self, claims: dict[str, Any]) -> str:
        """See `TokenIssuer.mint`: of *claims* the realm takes owner, audience and scopes."""
        scopes = tuple(str(claims.get("scope", "")).split())
        return (await self.sign(claims["sub"], claims["aud"], scopes)).text

    def maker(self, audience: str) -> str:
        """See `TokenIssuer.maker`."""
        return hashlib.sha256(f"realm {self._realm_issuer} {audience}".encode()).hexdigest()[:16]

    def verify(self, token: str) -> dict[str, Any] | None:  # noqa: ARG002 - the port's
        """See `TokenIssuer.verify`: a token of the realm names no key, so none is ours."""
        return None

    def jwks(self) -> dict[str, Any]:
        """See `TokenIssuer.jwks`: the realm publishes what verifies its tokens; the assertion key nobody needs."""
        return {"keys": []}

    async def sign(self, owner_id: str, audience: str, scopes: tuple[str, ...]) -> SignedToken:
        """See `RealmSigner.sign`."""
        if not all(map(may_be_asked, scopes)):
            raise KeyRefusedError(Reason.SCOPE_DENIED)
        answer = await self._ask(owner_id, audience, scopes)
        if answer == _Refusal("invalid_grant", _NOT_LINKED):
            await self._mend_link(owner_id)
            answer = await self._ask(owner_id, audience, scopes)
        if isinstance(answer, str):
            return self._read(answer, owner_id, audience, scopes)
        if answer.error == "invalid_scope":
            raise KeyRefusedError(await self._unmapped(owner_id, audience, scopes))
        if answer == _Refusal("invalid_grant", _NOT_ENABLED):
            raise KeyRefusedError(Reason.OWNER_DISABLED)
        raise self._misfit(f"the realm signs nothing for keys ({answer.error}: {answer.description[:200]})")

    async def revoke(self, token: str) -> None:
        """See `RealmSigner.revoke`."""
        status, _ = await self._post("revoke", {"token": token, "token_type_hint": "access_token"})
        if status != _OK:
            raise self._misfit(f"the realm revokes no token of a key (status {status})")

    async def close(self) -> None:
        """Close the connections."""
        await self._openid.connection.aclose()

    async def _mend_link(self, owner_id: str) -> None:
        try:
            await self._link(owner_id)
        except OwnerUnknownError as error:
            raise KeyRefusedError(Reason.OWNER_DISABLED) from error

    async def _unmapped(self, owner_id: str, audience: str, scopes: tuple[str, ...]) -> Reason:
        # Keycloak does not say which of all it was asked for it does not know.
        alone = await self._ask(owner_id, audience, ()) if scopes else None
        return Reason.SCOPE_DENIED if isinstance(alone, str) else Reason.AUDIENCE_DENIED

    async def _ask(self, owner_id: str, audience: str, scopes: tuple[str, ...]) -> str | _Refusal:
        form = {
            "grant_type": GRANT_TYPE,
            "assertion": self._assertion(owner_id),
            "scope": " ".join((audience_scope(audience), *scopes)),
        }
        status, document = await self._post("token", form)
        token = document.get("access_token")
        if status == _OK and isinstance(token, str):
            return token
        return _Refusal(str(document.get("error", status)), str(document.get("error_description", "")))

    async def _post(self, endpoint: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        began_at = self._breaker.check()
        try:
            async with asyncio.timeout(DEADLINE):
                answer = await self._openid.connection.a_raw_post(
                    f"{self._endpoints}/{endpoint}", data=form | self._client
                )
            document = answer.json() if answer.content else {}
        except (TimeoutError, KeycloakConnectionError, ValueError) as error:
            self._breaker.failed(began_at)
            raise CannotTellError("Keycloak did not answer in time, or not as itself") from error
        if answer.status_code >= _SERVER_FAULT or not isinstance(document, dict):
            self._breaker.failed(began_at)
            raise CannotTellError(f"Keycloak answered {answer.status_code}")
        self._breaker.succeeded(began_at)
        return answer.status_code, document

    def _read(self, text: str, owner_id: str, audience: str, scopes: tuple[str, ...]) -> SignedToken:
        # Looks wrong: no signature is checked. Keycloak just handed it to us over our own connection, for us to hand
        # on. Depends on: never called with a token that somebody presented.
        try:
            claims = jwt.decode(text, options={"verify_signature": False})
            life = int(claims["exp"]) - int(claims["iat"])
        except (jwt.PyJWTError, KeyError, TypeError, ValueError) as error:
            raise self._misfit("the realm's tokens for keys cannot be read") from error
        # The attack: with full scope on, or with a mapper too many, a key would open its owner's account, or more.
        good = {
            "iss": claims.get("iss") == self._realm_issuer,
            "sub": claims.get("sub") == owner_id,
            "aud": claims.get("aud") == audience,
            "scope": set(str(claims.get("scope", "")).split()) == set(scopes),
            "roles": not claims.get("realm_access") and not claims.get("resource_access"),
            "exp": life > 0,
        }
        wrong = [name for name, is_good in good.items() if not is_good]
        if wrong:
            raise self._misfit(f"the realm's tokens for keys are not as asked for: {', '.join(wrong)}")
        return SignedToken(text, float(claims["iat"]), float(claims["exp"]))

    def _misfit(self, what: str) -> CannotTellError:
        self._alert(f"{what}: {_SETUP}")
        return CannotTellError(what, retry_after=5)
