"""`KeystileTokenVerifier` against an issuer that answers as it is told: which tokens it takes, and what it asks."""

from __future__ import annotations

import base64
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keystile.client.errors import AddressError, NoKeyError
from keystile.client.keys import key_source
from keystile.mcp import KeystileTokenVerifier
from keystile.mcp.asking import Asking
from keystile.mcp.introspection import Introspection
from keystile.mcp.jwks import FRESH_FOR, KEPT_FOR, PAUSE, Jwks
from unit.answering import KEY, Answering, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

ISSUER = "https://id.example.com/sts"
MCP = "https://mcp.example.com/mcp"
JWKS, INTROSPECT = "/sts/jwks.json", "/sts/introspect"
PRIVATE = generate_private_key(SECP256R1())
OTHER = generate_private_key(SECP256R1())
ALG = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256)
JWK: dict[str, Any] = {**json.loads(ALG.to_jwk(PRIVATE.public_key())), "kid": "k1", "alg": "ES256", "use": "sig"}
HEADER = {"typ": "at+jwt", "kid": "k1"}
KEYS = Reply(200, {"keys": [JWK]})
ACTIVE, INACTIVE = Reply(200, {"active": True}), Reply(200, {"active": False})


def claims(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any claims
    now = int(time.time())
    whole = {
        "iss": ISSUER,
        "sub": "owner",
        "aud": MCP,
        "exp": now + 7200,  # these are made when the tests are collected
        "iat": now,
        "jti": "j1",
        "client_id": "abcdefghijkl",
        "scope": "read tools:call",
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None}


def a_jwt(header: Mapping[str, Any] | None = None, **changes: Any) -> str:  # noqa: ANN401 - any claims
    headers = {**HEADER, **(header or {})}
    present = {name: value for name, value in headers.items() if value is not None}
    return jwt.encode(claims(**changes), PRIVATE, "ES256", headers=present)


@asynccontextmanager
async def verifier(server: Answering, **more: Any) -> AsyncIterator[KeystileTokenVerifier]:  # noqa: ANN401 - any argument
    built = KeystileTokenVerifier(ISSUER, MCP, keystile_url=server.url, **more)
    try:
        yield built
    finally:
        await built.close()


async def test_a_jwt_for_this_server_is_taken() -> None:
    """What it grants is told to the SDK: key, owner, scopes, end and audience; the keys are asked for once."""
    with Answering({JWKS: [KEYS]}) as server:
        async with verifier(server) as checks:
            token = a_jwt(act={"sub": "agent"})
            taken = [await checks.verify_token(token) for _ in range(3)]
    assert len(server.asked) == 1
    for access in taken:
        assert access
        assert (access.client_id, access.subject, access.resource) == ("abcdefghijkl", "owner", MCP)
        assert (access.scopes, access.claims and access.claims["act"]) == (["read", "tools:call"], {"sub": "agent"})


FOREIGN = {
    "for another server": a_jwt(aud="https://other.example.com/mcp"),
    "for a longer address": a_jwt(aud=f"{MCP}/"),
    "for two": a_jwt(aud=[MCP, "https://other.example.com/mcp"]),
    "for one in a list": a_jwt(aud=[MCP]),
    "for nobody": a_jwt(aud=None),
    "of another issuer": a_jwt(iss="https://other.example.com/sts"),
    "of no issuer": a_jwt(iss=None),
    "ended": a_jwt(exp=int(time.time()) - 10),
    "without end": a_jwt(exp=None),
    "of the future": a_jwt(iat=int(time.time()) + 3600),
    "without owner": a_jwt(sub=None),
    "without id": a_jwt(jti=None),
    "without key": a_jwt(client_id=None),
    "key of no text": a_jwt(client_id=7),
    "scopes of no text": a_jwt(scope=["tools:call"]),
    "end of no number": a_jwt(exp=time.time() + 300.5),
    "another kind": a_jwt({"typ": "JWT"}),
    "no kind": a_jwt({"typ": ""}),
    "unknown key": a_jwt({"kid": "k2"}),
    "no key": a_jwt({"kid": None}),
    "signed by another": jwt.encode(claims(), OTHER, "ES256", headers=HEADER),
    "not signed": jwt.encode(claims(), "", "none", headers=HEADER),
    "signed with what is public": jwt.encode(claims(), JWK["x"], "HS256", headers=HEADER),
    "no JWT": "nonsense",
    "empty": "",
    "too long": a_jwt(filling="x" * 20_000),
    "nested without end": base64.urlsafe_b64encode(b"[" * 12_000).decode() + ".e30.e30",
    "an API key": KEY,
}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Answering]:
    with Answering({JWKS: [KEYS]}) as server:
        yield server


@pytest.mark.parametrize("token", FOREIGN.values(), ids=FOREIGN)
async def test_whatever_else_is_refused(issuer: Answering, token: str) -> None:
    """A token for somebody else, of somebody else, of another kind, or at another time is worth nothing here."""
    async with verifier(issuer) as checks:
        assert await checks.verify_token(a_jwt())
        assert await checks.verify_token(token) is None


class Stand:
    """Public keys, or a verdict on JWTs, by a clock that is set."""

    def __init__(self, server: Answering) -> None:
        self.now = 1000.0
        self.asking = Asking(server.issuer)
        self.keys = Jwks(self.asking, lambda: self.now)
        self.introspection = Introspection(self.asking, key_source(KEY), 1.0, lambda: self.now)

    async def knows(self, key_id: str = "k1") -> bool:
        """Tell whether that key counts now."""
        return await self.keys.key(key_id) is not None


async def test_unknown_keys_are_asked_for_once_in_a_while() -> None:
    """The attack: key ids made up. The issuer hears of them once in five seconds, and its new key is known then."""
    with Answering({JWKS: [KEYS, Reply(200, {"keys": [JWK, {**JWK, "kid": "k2"}]})]}) as server:
        stand = Stand(server)
        assert [await stand.knows(f"made up {number}") for number in range(20)] == [False] * 20
        assert (len(server.asked), await stand.knows("k2")) == (1, False)
        stand.now += PAUSE
        assert (await stand.knows("k2"), await stand.knows()) == (True, True)
        assert [await stand.knows(f"made up {number}") for number in range(20)] == [False] * 20
        assert len(server.asked) == 2
        await stand.asking.close()


async def test_a_key_that_was_taken_back_is_gone_in_minutes() -> None:
    """The set is read again when it is old; what is not in it any more counts for nothing."""
    with Answering({JWKS: [KEYS, Reply(200, {"keys": []})]}) as server:
        stand = Stand(server)
        assert await stand.knows()
        stand.now += FRESH_FOR - 1
        assert (await stand.knows(), len(server.asked)) == (True, 1)
        stand.now += 1
        assert (await stand.knows(), len(server.asked)) == (False, 2)
        await stand.asking.close()


@pytest.mark.parametrize("broken", [Reply(503), Reply(200, []), Reply(307), Reply(200, body=b" " * 70_000)])
async def test_an_issuer_that_is_away_is_missed_after_a_while(broken: Reply) -> None:
    """Keys go on counting for a quarter of an hour, the issuer is not besieged meanwhile, and then nobody comes in."""
    with Answering({JWKS: [KEYS, broken]}) as server:
        stand = Stand(server)
        assert await stand.knows()
        stand.now += KEPT_FOR - 1
        assert ([await stand.knows() for _ in range(20)], len(server.asked)) == ([True] * 20, 2)
        stand.now += 1
        assert not await stand.knows()
        await stand.asking.close()


async def test_keys_of_every_kind_we_sign_with_count() -> None:
    """A key for EdDSA verifies what it signed, and nothing that claims another algorithm."""
    private = Ed25519PrivateKey.generate()
    algorithm = jwt.algorithms.OKPAlgorithm()
    document = {**json.loads(algorithm.to_jwk(private.public_key())), "kid": "k1", "alg": "EdDSA"}
    with Answering({JWKS: [Reply(200, {"keys": [document]})]}) as server:
        async with verifier(server) as checks:
            assert await checks.verify_token(jwt.encode(claims(), private, "EdDSA", headers=HEADER))
            assert await checks.verify_token(a_jwt()) is None


async def test_only_keys_for_our_algorithms_count() -> None:
    """A set may hold other things: keys that are secret, for other algorithms, of no algorithm, or no keys at all."""
    strange: list[Any] = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "k2", "alg": "HS256"},
        {name: value for name, value in JWK.items() if name != "alg"} | {"kid": "k3"},
        {**JWK, "kid": 4},
        {**JWK, "kid": "k5", "alg": "RS256"},
        {**JWK, "kid": "k6", "x": "?"},
        "k7",
        None,
    ]
    with Answering({JWKS: [Reply(200, {"keys": [*strange, JWK]})]}) as server:
        stand = Stand(server)
        assert [key_id for key_id in ("k1", "k2", "k3", "4", "k5", "k6", "k7") if await stand.knows(key_id)] == ["k1"]
        await stand.asking.close()


async def test_a_revoked_jwt_is_refused_within_the_bound() -> None:
    """A yes is believed for a second and no longer; the question carries our own key, and the JWT in its body."""
    with Answering({INTROSPECT: [ACTIVE, INACTIVE]}) as server:
        stand = Stand(server)
        told = [await stand.introspection.is_active("jwt") for _ in range(3)]
        stand.now += 1.0
        assert (told, await stand.introspection.is_active("jwt")) == ([True] * 3, False)
        await stand.asking.close()
    assert [each.body for each in server.asked] == [b"token=jwt"] * 2
    assert {each.headers["Authorization"] for each in server.asked} == {f"Bearer {KEY}"}


@pytest.mark.parametrize(
    "answer",
    [
        INACTIVE,
        Reply(200, {"active": "true"}),
        Reply(200, {}),
        Reply(200, [True]),
        Reply(204, body=b""),
        Reply(401, {"active": True}),
        Reply(403),
        Reply(503),
        Reply(307, {"active": True}, {"Location": "/sts/elsewhere"}),
    ],
)
async def test_whatever_is_no_yes_is_a_no(answer: Reply) -> None:
    """Nobody comes in because the question could not be answered; and the next one is asked again."""
    with Answering({JWKS: [KEYS], INTROSPECT: [answer, ACTIVE], "/sts/elsewhere": [ACTIVE]}) as server:
        async with verifier(server, introspection_key=KEY) as checks:
            assert await checks.verify_token(a_jwt()) is None
            assert await checks.verify_token(a_jwt())
    assert server.asked_for("/sts/elsewhere") == []


async def test_a_token_that_is_nothing_by_itself_costs_no_question() -> None:
    """Forged tokens, and those for others, are not asked about: they would be a way to flood Keystile."""
    with Answering({JWKS: [KEYS], INTROSPECT: [ACTIVE]}) as server:
        async with verifier(server, introspection_key=KEY) as checks:
            for token in FOREIGN.values():
                assert await checks.verify_token(token) is None
    assert server.asked_for(INTROSPECT) == []


async def test_nobody_there_lets_nobody_in() -> None:
    """Without the issuer there are no keys and no answers, and no error either."""
    with Answering() as server:
        pass
    async with verifier(server) as checks:
        assert await checks.verify_token(a_jwt()) is None
    stand = Stand(server)
    assert not await stand.introspection.is_active("jwt")
    await stand.asking.close()


def test_settings_for_the_sdk_say_what_is_checked() -> None:
    """Scopes, issuer and resource of the metadata are those of the verifier, the resource letter by letter."""
    settings = KeystileTokenVerifier(ISSUER, MCP, required_scopes=["tools:call"]).auth_settings()
    assert (str(settings.issuer_url), str(settings.resource_server_url)) == (ISSUER, MCP)
    assert (settings.required_scopes, settings.validate_token_resource) == (["tools:call"], True)
    with pytest.raises(ValueError, match=f"write {MCP}, not https://MCP"):
        KeystileTokenVerifier(ISSUER, "https://MCP.example.com:443/mcp")


def test_what_cannot_work_is_told_at_once() -> None:
    """An issuer over plain http, a key that is none, a yes that is believed for ever."""
    with pytest.raises(AddressError):
        KeystileTokenVerifier("http://id.example.com/sts", MCP)
    KeystileTokenVerifier("http://keystile:8400/sts", MCP, plain_http=["keystile"])
    with pytest.raises(NoKeyError):
        KeystileTokenVerifier(ISSUER, MCP, introspection_key="")
    with pytest.raises(ValueError, match="0 to 60 seconds"):
        KeystileTokenVerifier(ISSUER, MCP, introspection_key=KEY, believed_for=3600)
