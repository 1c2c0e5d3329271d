"""`private_key_jwt` at `/sts/token`, as clients send it and as attackers would."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import jwt
import pytest
from authlib.oauth2.client import ClientAuth  # type: ignore[import-untyped]
from authlib.oauth2.rfc7523 import PrivateKeyJWT  # type: ignore[import-untyped]
from cryptography.hazmat.primitives import serialization
from joserfc.jwk import ECKey, OKPKey, RSAKey

from keystile.authority.lifecycle import KeyRequest
from keystile.http.assertions import ASSERTION_TYPE
from keystile.records import RevocationReason
from keystile.restrictions import Policy
from keystile.wiring import open_deployment
from unit.keypairs import KINDS, claims_for, pair
from unit.served import FORM, MCP, Prepared, basic, bearer, key_id, serving, settings_in

if TYPE_CHECKING:
    from pathlib import Path

    from unit.keypairs import Pair
    from unit.served import Answered, Client

ISSUER = "http://127.0.0.1:8400/sts"
POLICY = Policy(scopes=("read", "write"), audiences=(MCP,))


async def register_in(
    folder: Path, by: Pair, owner: str = "clients", *, revoke: bool = False, scopes: tuple[str, ...] = POLICY.scopes
) -> str:
    """Register a public key in the store of that folder and return its key id."""
    async with open_deployment(settings_in(folder)) as deployment:
        policy = replace(POLICY, scopes=scopes)
        request = KeyRequest(owner=owner, name="client", issued_by="test", policy=policy)
        registered = await deployment.registrar.register(request, by.public)
        if revoke:
            reason = RevocationReason.UNSPECIFIED
            await deployment.lifecycle.revoke(registered.record.key_id, reason=reason, revoked_by="test")
        return registered.record.key_id


def sign(by: Pair, client: str, alg: str = "", **changes: Any) -> str:  # noqa: ANN401 - claims
    now = int(time.time())
    claims = claims_for(client, aud=ISSUER, iat=now, exp=now + 300)
    return jwt.encode({**claims, **changes}, by.private, alg or by.algorithm)


async def ask(client: Client, assertion: str, *headers: tuple[str, str], **form: str) -> Answered:
    form = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion, **form}
    return await client.token(*headers, **form)


@pytest.mark.parametrize("kind", KINDS)
async def test_assertion_is_exchanged_for_a_jwt(client: Client, tmp_path: Path, kind: str) -> None:
    """No client_id in the body is fine, the same one is too; scope and resource narrow the JWT as for any key."""
    name = await register_in(tmp_path, pair(kind))
    answer = await ask(client, sign(pair(kind), name), resource=MCP, scope="read")
    claims = jwt.decode(answer.json()["access_token"], options={"verify_signature": False})
    assert (claims["client_id"], claims["aud"], claims["scope"]) == (name, MCP, "read")
    assert (await ask(client, sign(pair(kind), name), client_id=name)).status == 200
    passed = await client.verify(bearer((await ask(client, sign(pair(kind), name))).json()["access_token"]))
    assert (passed.status, passed.header("x-auth-key-id")) == (200, name)


async def test_the_mcp_sdk_signs_like_this(client: Client, tmp_path: Path) -> None:
    """`PrivateKeyJWTOAuthProvider` of `mcp`: RS256, 300 seconds, `aud` from the metadata's issuer, no client_id."""
    name = await register_in(tmp_path, pair("PS256"))
    metadata = (await client.send("GET", "/.well-known/oauth-authorization-server/sts")).json()
    assert "private_key_jwt" in metadata["token_endpoint_auth_methods_supported"]
    algorithms = metadata["token_endpoint_auth_signing_alg_values_supported"]
    assert algorithms == ["ES256", "Ed25519", "EdDSA", "PS256", "RS256"]
    form = serialization.PrivateFormat.PKCS8
    pem = pair("PS256").private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
    now = int(time.time())
    claims = {"iss": name, "sub": name, "aud": metadata["issuer"], "exp": now + 300, "iat": now, "jti": "one"}
    answer = await ask(client, jwt.encode(claims, pem, algorithm="RS256"), resource=MCP, scope="read")
    assert (answer.status, answer.json()["scope"]) == (200, "read")


@pytest.mark.parametrize("kind", KINDS)
async def test_authlib_is_let_in(client: Client, tmp_path: Path, kind: str) -> None:
    """The authlib client authenticates by its own `private_key_jwt`, told the issuer as the audience."""
    name = await register_in(tmp_path, pair(kind))
    form = serialization.PrivateFormat.PKCS8
    pem = pair(kind).private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    kinds: dict[str, Any] = {"EdDSA": OKPKey, "ES256": ECKey, "PS256": RSAKey}
    alg = {"EdDSA": "Ed25519", "ES256": "ES256", "PS256": "RS256"}[kind]
    auth = ClientAuth(name, kinds[kind].import_key(pem), PrivateKeyJWT(ISSUER, alg=alg))
    sent = {"Content-Type": "application/x-www-form-urlencoded"}
    _, headers, body = auth.prepare("POST", f"{ISSUER}/token", sent, "grant_type=client_credentials&scope=read")
    answer = await client.send("POST", "/sts/token", headers.items(), [body.encode()])
    assert (answer.status, answer.json()["scope"]) == (200, "read")


async def test_every_refusal_looks_the_same(client: Client, tmp_path: Path) -> None:
    """A made-up, an unknown, a revoked client, a bad signature, a replay and a wrong API key get one answer."""
    name = await register_in(tmp_path, pair())
    revoked = await register_in(tmp_path, pair(number=2), revoke=True)
    used = sign(pair(), name)
    assert (await ask(client, used)).status == 200
    wrong = await client.token(basic(key_id(client.keys["unknown"]), client.keys["unknown"]))
    for assertion, form in (
        (used, {}),
        (sign(pair(number=2), name), {}),
        (sign(pair(number=2), revoked), {}),
        (sign(pair(), "k3v9x0q2m7ab"), {}),
        (sign(pair(), name, aud=f"{ISSUER}/token"), {}),
        (sign(pair(), name, exp=int(time.time()) - 1), {}),
        (sign(pair(), name), {"client_id": revoked}),
        ("x.y.z", {}),
        ("x" * 5_000, {}),
    ):
        answer = await ask(client, assertion, **form)
        assert (answer.status, answer.headers, answer.body) == (wrong.status, wrong.headers, wrong.body)
    assert (wrong.status, wrong.json()) == (401, {"error": "invalid_client"})


@pytest.mark.parametrize(
    ("headers", "form"),
    [
        ([basic("x", "y")], {}),
        ([bearer("x")], {}),
        ([("X-API-Key", "x")], {}),
        ([], {"client_secret": "x"}),
        ([], {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}),
        ([], {"client_assertion_type": ""}),
        ([], {"client_assertion": ""}),
    ],
)
async def test_a_client_authenticates_in_one_way(
    client: Client, tmp_path: Path, headers: list[tuple[str, str]], form: dict[str, str]
) -> None:
    """RFC 6749, 2.3: an assertion beside another credential, or of another type, is an invalid request."""
    name = await register_in(tmp_path, pair())
    answer = await ask(client, sign(pair(), name), *headers, **form)
    assert (answer.status, answer.json()["error"]) == (400, "invalid_request")


async def test_assertion_is_no_credential_elsewhere(client: Client, tmp_path: Path) -> None:
    """What proves a client to the token endpoint is nothing at a gateway, and never stands in a URL."""
    name = await register_in(tmp_path, pair())
    assertion = sign(pair(), name)
    assert (await client.verify(bearer(assertion))).status == 401
    assert (await client.verify(bearer(name))).status == 401
    answer = await client.token(query=f"client_assertion={assertion}", client_assertion_type=ASSERTION_TYPE)
    assert (answer.status, answer.json()["error"]) == (400, "invalid_request")


async def post(client: Client, path: str, assertion: str, *headers: tuple[str, str], **form: str) -> Answered:
    body = urlencode({"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion, **form}).encode()
    return await client.send("POST", f"/sts/{path}", [FORM, *headers], [body])


async def test_public_key_client_asks_and_revokes_as_others_do(client: Client, tmp_path: Path) -> None:
    """RFC 7662 and RFC 7009: what the metadata lists works at these doors, and ends what the client was given."""
    name = await register_in(tmp_path, pair(), scopes=("read", "introspect"))
    token = (await ask(client, sign(pair(), name), resource=MCP)).json()["access_token"]
    assert (await post(client, "introspect", sign(pair(), name), token=token)).json()["client_id"] == name
    assert (await post(client, "revoke", sign(pair(), name), token=token)).status == 200
    assert (await post(client, "introspect", sign(pair(), name), token=token)).json() == {"active": False}


async def test_assertion_at_other_doors_proves_no_more_than_at_the_token_door(client: Client, tmp_path: Path) -> None:
    """A used one, one beside a key, one without the right: refused, and nothing is picked."""
    name, server = await register_in(tmp_path, pair()), bearer(client.keys["server"])
    used = sign(pair(), name)
    assert (await ask(client, used)).status == 200
    for path in ("introspect", "revoke"):
        assert (await post(client, path, used, token="x")).status == 401
        assert (await post(client, path, sign(pair(), name), server, token="x")).status == 400
    assert (await post(client, "introspect", sign(pair(), name), token="x")).status == 403
    others = await client.jwt("good")
    assert (await post(client, "revoke", sign(pair(), name), token=others)).status == 400


async def test_assertion_is_not_good_again_after_a_restart(prepared: Prepared, tmp_path: Path) -> None:
    """What was used is remembered by the store, not by the process that was shown it."""
    async with serving(prepared, tmp_path / "one") as first:
        name = await register_in(tmp_path / "one", pair())
        assertion = sign(pair(), name)
        assert (await ask(first, assertion)).status == 200
    async with serving(Prepared(tmp_path / "one", prepared.keys), tmp_path / "two") as second:
        assert (await ask(second, assertion)).status == 401
        assert (await ask(second, sign(pair(), name))).status == 200
