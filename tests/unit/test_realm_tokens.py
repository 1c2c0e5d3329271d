"""Access tokens of a realm, checked against its keys: what is taken, and how often the keys are fetched."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm

from keystile.adapters.keycloak.realm_tokens import FRESH_FOR, REST, KeycloakRealmTokens
from keystile.errors import CannotTellError
from keystile.ports import RealmUser
from unit.watched import Time

ISSUER = "https://id.example.com/realms/keystile"
KEY, OTHER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))


def jwk(key: ec.EllipticCurvePrivateKey = KEY, kid: str = "k1", **fields: str) -> dict[str, Any]:
    public = json.loads(ECAlgorithm.to_jwk(key.public_key()))
    return {**public, "kid": kid, "alg": "ES256", "use": "sig", **fields}


def token(key: Any = KEY, kid: str = "k1", alg: str = "ES256", **claims: Any) -> str:  # noqa: ANN401 - any key, any claims
    """Return a token as Keycloak makes them, with these claims changed; None takes one away."""
    now = int(time.time())
    said = {
        "iss": ISSUER,
        "sub": "owner-1",
        "aud": ["keystile", "account"],
        "exp": now + 60,
        "iat": now,
        "typ": "Bearer",
        "azp": "console",
        "preferred_username": "alice",
        **claims,
    }
    return jwt.encode({name: value for name, value in said.items() if value is not None}, key, alg, {"kid": kid})


class Realm:
    """Keys that a realm publishes, and how often they were fetched."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = list(keys or (jwk(),))
        self.time, self.fetched, self.away = Time(), 0, False
        self.tokens = KeycloakRealmTokens(
            self.certs, issuer=ISSUER, clients=("console",), servers=("Gateway",), ticks=self.time.ticks
        )

    async def certs(self) -> dict[str, Any]:
        """Publish them."""
        self.fetched += 1
        if self.away:
            raise CannotTellError("Keycloak is away")
        return {"keys": self.keys}


@pytest.fixture
def realm() -> Realm:
    return Realm()


async def test_good_token_names_its_user(realm: Realm) -> None:
    """Whom it names, since when, with which roles of the client keystile alone, and in which organizations."""
    issued_at = int(time.time()) - 5
    access = {"keystile": {"roles": ["key-admin"]}, "other": {"roles": ["tenant-admin"]}}
    good = token(iat=issued_at, resource_access=access, organization={"acme": {}, "b": {}})
    assert await realm.tokens.verify(good) == RealmUser(
        id="owner-1",
        username="alice",
        issued_at=issued_at,
        roles=frozenset({"key-admin"}),
        tenants=frozenset({"acme", "b"}),
    )


async def test_token_that_says_little_names_somebody_without_roles(realm: Realm) -> None:
    """One audience, no name, roles in another shape: a user with no role."""
    little = token(aud="keystile", preferred_username=None, resource_access=["key-admin"], organization="acme")
    user = await realm.tokens.verify(little)
    assert user is not None
    assert (user.username, user.roles, user.tenants) == ("owner-1", frozenset(), frozenset())


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://id.example.com/realms/other"},
        {"iss": ISSUER + "/"},
        {"iss": None},
        {"exp": int(time.time()) - 60},
        {"exp": None},
        {"iat": None},
        {"iat": int(time.time()) + 86_400},
        {"nbf": int(time.time()) + 86_400},
        {"sub": None},
        {"aud": ["account"]},
        {"aud": "keystile-tokens"},
        {"aud": None},
        {"typ": "ID"},
        {"typ": "Refresh"},
        {"typ": "DPoP"},
        {"typ": "bearer"},
        {"typ": None},
        {"azp": "keystile-tokens"},
        {"azp": "CONSOLE"},
        {"azp": None},
        {"azp": ["console"]},
        {"cnf": {"jkt": "x"}},
    ],
    ids=str,
)
async def test_token_with_one_wrong_claim_is_not_taken(realm: Realm, claims: dict[str, Any]) -> None:
    """Issuer, times, subject, audience, kind, client, and no binding to a holder: each must be right."""
    assert await realm.tokens.verify(token(**claims)) is None


async def test_signature_is_by_a_key_of_the_realm(realm: Realm) -> None:
    """Another key, a changed word, none at all, or the public key as a shared secret: nothing of that counts."""
    header, body, signature = token().split(".")
    other_body = token(sub="owner-2").split(".")[1]
    public = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for forged in (
        token(OTHER),
        f"{header}.{other_body}.{signature}",
        f"{header}.{body}.",
        token(None, alg="none"),
        token(public.hex(), alg="HS256"),
        "a.b.c",
        "",
        token(x="x" * 8_192),
    ):
        assert await realm.tokens.verify(forged) is None


async def test_keys_that_do_not_sign_are_not_used() -> None:
    """Keys for encryption, symmetric ones, and those without a name or an algorithm prove nothing."""
    realm = Realm(
        jwk(use="enc"),
        {
            "kid": "k2",
            "kty": "oct",
            "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA",
            "alg": "HS256",
            "use": "sig",
        },
        {name: value for name, value in jwk(kid="k3").items() if name != "alg"},
        jwk(OTHER, "k4"),
        {"kid": "k5", "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig"},
    )
    for kid in ("k1", "k3", "k5"):
        assert await realm.tokens.verify(token(kid=kid)) is None
    secret = "secret-secret-secret-secret-secret"
    assert await realm.tokens.verify(token(secret, "k2", "HS256")) is None
    assert await realm.tokens.verify(token(OTHER, "k4")) is not None


async def test_without_clients_nobody_comes_in(realm: Realm) -> None:
    """No client named: no token is taken, and no key fetched."""
    closed = KeycloakRealmTokens(realm.certs, issuer=ISSUER, clients=())
    assert await closed.verify(token()) is None
    assert realm.fetched == 0


async def test_keys_are_fetched_once_in_a_while(realm: Realm) -> None:
    """Many tokens cost one fetch, until the keys are no longer fresh."""
    for _ in range(5):
        assert await realm.tokens.verify(token())
    assert realm.fetched == 1
    realm.time.passed += FRESH_FOR
    assert await realm.tokens.verify(token())
    assert realm.fetched == 2


async def test_unknown_keys_cost_one_fetch_in_ten_seconds(realm: Realm) -> None:
    """Whoever makes key names up cannot make us ask the realm again and again."""
    for number in range(20):
        assert await realm.tokens.verify(token(kid=f"made-up-{number}")) is None
    assert realm.fetched == 1
    realm.keys.append(jwk(OTHER, "k2"))
    assert await realm.tokens.verify(token(OTHER, "k2")) is None
    realm.time.passed += REST
    assert await realm.tokens.verify(token(OTHER, "k2")) is not None
    assert realm.fetched == 2


async def test_key_the_realm_took_away_is_not_believed_for_long(realm: Realm) -> None:
    """Once the keys are fetched again, an old one proves nothing."""
    assert await realm.tokens.verify(token())
    realm.keys = [jwk(OTHER, "k2")]
    realm.time.passed += FRESH_FOR
    assert await realm.tokens.verify(token()) is None


async def test_keys_are_good_while_the_realm_is_away(realm: Realm) -> None:
    """Known keys go on proving, and are asked for every ten seconds at most; what they do not know, nobody can tell."""
    assert await realm.tokens.verify(token())
    realm.away = True
    realm.time.passed += FRESH_FOR
    for _ in range(5):
        assert await realm.tokens.verify(token())
    assert realm.fetched == 2
    with pytest.raises(CannotTellError):
        await realm.tokens.verify(token(OTHER, "k2"))
    realm.away = False
    realm.time.passed += REST
    assert await realm.tokens.verify(token(OTHER, "k2")) is None


def own(**claims: Any) -> str:  # noqa: ANN401 - any claims
    """Return what Keycloak gives to a client for itself, by client_credentials."""
    itself = {"azp": "Gateway", "client_id": "Gateway", "preferred_username": "service-account-gateway"}
    return token(**{**itself, **claims})


async def test_client_s_own_token_names_it(realm: Realm) -> None:
    """A resource server comes with what it got for itself, and is nobody who manages keys."""
    assert await realm.tokens.client(own()) == "Gateway"
    assert await realm.tokens.verify(own()) is None


@pytest.mark.parametrize(
    "claims",
    [
        {"client_id": None, "preferred_username": "alice"},
        {"client_id": None},
        {"preferred_username": "alice"},
        {"preferred_username": "service-account-console"},
        {"preferred_username": None},
        {"client_id": "console"},
        {"azp": "console", "client_id": "console", "preferred_username": "service-account-console"},
        {"azp": "gateway"},
        {"aud": "account"},
        {"typ": "ID"},
        {"cnf": {"jkt": "x"}},
        {"exp": int(time.time()) - 60},
        {"iss": ISSUER + "/"},
    ],
    ids=str,
)
async def test_token_of_somebody_else_is_no_resource_server(realm: Realm, claims: dict[str, Any]) -> None:
    """Above all a user's token that the client got: `azp` names the client there too, and every service sees it."""
    assert await realm.tokens.client(own(**claims)) is None


async def test_without_resource_servers_no_client_comes_in(realm: Realm) -> None:
    """No resource server named: no token is taken, and no key fetched."""
    closed = KeycloakRealmTokens(realm.certs, issuer=ISSUER, clients=("Gateway",))
    assert await closed.client(own()) is None
    assert realm.fetched == 0


@pytest.mark.parametrize("keys", [None, []], ids=["away", "empty"])
async def test_without_any_key_nobody_can_tell(realm: Realm, keys: list[Any] | None) -> None:
    """Before the first keys are there, or where what answers publishes none: 503, not 401."""
    realm.away, realm.keys = keys is None, keys or []
    for _ in range(2):
        with pytest.raises(CannotTellError):
            await realm.tokens.verify(token())
    assert realm.fetched == 1
