"""A realm that signs tokens for keys, what asks it for them, and a service that trusts nothing but that realm."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import httpx
import jwt
from keycloak import KeycloakOpenID

from contracts.keycloak_fixtures import Realm, make_realm
from keystile.adapters.keycloak.access import ClientAccess
from keystile.adapters.keycloak.issuer import KeycloakTokenIssuer
from keystile.adapters.keycloak.links import KeycloakLinks
from keystile.adapters.keycloak.wanted import WantedGrant
from keystile.adapters.signing.assertions import Assertions, make_assertion_key, public_pem
from keystile.authority.breaker import Breaker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from keystile.adapters.signing.files import SigningKey
    from stack import KeycloakServer

ISSUER = "https://id.example.com/sts"
DEFAULT, MCP, UNMAPPED = f"{ISSUER}/default", "https://mcp.example.com/mcp", "https://elsewhere.example.com"
SERVICE_SECRET = "what the service introspects with"
TTL = 300


@dataclass
class GrantingRealm(Realm):
    """A realm whose client `keystile-tokens` may ask for tokens, and the key that signs its assertions."""

    key: SigningKey | None = field(default=None, kw_only=True)

    @property
    def issuer(self) -> str:
        """The `iss` of its tokens."""
        return f"{self.server.url}/realms/{self.wanted.realm}"

    @asynccontextmanager
    async def signer(self, *, url: str = "", **changes: Any) -> AsyncIterator[KeycloakTokenIssuer]:  # noqa: ANN401 - any of its arguments
        """Open what asks for tokens, through *url* if it is given."""
        assert self.key is not None
        writer = self.client(self.wanted.writer)
        assertions = Assertions(self.key, issuer=f"{ISSUER}/assertions", audience=self.issuer, clock=time.time)
        signer = KeycloakTokenIssuer(
            ClientAccess(url=url or self.server.url, realm=self.wanted.realm, client=self.wanted.tokens),
            **{
                "issuer": ISSUER,
                "realm_issuer": self.issuer,
                "assertion": assertions.about,
                "link": KeycloakLinks(writer).mend,
                "alert": self.alerts.append,
                "breaker": Breaker("Keycloak"),
                **changes,
            },
        )
        yield signer
        await signer.close()
        await writer.close()

    def introspect(self, token: str) -> dict[str, Any]:
        """Return what the realm tells the service `MCP` about *token*."""
        service = KeycloakOpenID(f"{self.server.url}/", self.wanted.realm, MCP, client_secret_key=SERVICE_SECRET)
        return dict(service.introspect(token))

    def ask(self, path: str, token: str) -> httpx.Response:
        """Ask the server for *path* with that bearer; browsers, which want no JSON, get the account console."""
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        return httpx.get(f"{self.server.url}{path}", headers=headers)

    def certs(self) -> jwt.PyJWKSet:
        """Return the keys the realm publishes."""
        return jwt.PyJWKSet.from_dict(httpx.get(f"{self.issuer}/protocol/openid-connect/certs").json())


def a_grant(key: SigningKey) -> WantedGrant:
    """Return what a realm is told of us: two audiences, two scopes, and the public half of *key*."""
    return WantedGrant(
        issuer=f"{ISSUER}/assertions",
        public_key=public_pem(key),
        key_id=key.kid,
        token_ttl=TTL,
        audiences=(DEFAULT, MCP),
        scopes=("read", "write"),
    )


def make_granting_realm(server: KeycloakServer, folder: Path) -> GrantingRealm:
    """Return a realm set up to sign tokens, in which a service introspects as the client `MCP`."""
    bare, key = make_realm(server), make_assertion_key(folder)
    realm = GrantingRealm(server, replace(bare.wanted, grant=a_grant(key)), key=key)
    assert realm.set_up() != []
    realm.admin.create_client(
        {"clientId": MCP, "publicClient": False, "secret": SERVICE_SECRET, "serviceAccountsEnabled": True}
    )
    return realm
