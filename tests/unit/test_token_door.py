from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jwt
import pytest

from unit.served import FORM, MCP, Answered, basic, bearer, key_id, serving

if TYPE_CHECKING:
    from pathlib import Path

    from unit.served import Client, Prepared


def claims_of(answer: Answered) -> dict[str, Any]:
    """Return the claims of a success that has the form RFC 6749, 5.1 asks for."""
    assert answer.status == 200, answer.body
    document = answer.json()
    assert document["token_type"] == "Bearer"
    assert type(document["expires_in"]) is int
    assert "refresh_token" not in document
    assert (answer.header("cache-control"), answer.header("pragma")) == ("no-store", "no-cache")
    assert answer.header("content-type") == "application/json"
    assert answer.header("content-length") == str(len(answer.body))
    claims: dict[str, Any] = jwt.decode(document["access_token"], options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == document["expires_in"] <= 300
    return claims


async def test_key_by_basic_gives_a_jwt(client: Client) -> None:
    """Key id and key, as HTTP Basic, are client_credentials."""
    good = client.keys["good"]
    answer = await client.token(basic(key_id(good), good))
    claims = claims_of(answer)
    assert (claims["iss"], claims["client_id"]) == ("http://127.0.0.1:8400/sts", key_id(good))
    assert claims["aud"] == "http://127.0.0.1:8400/sts/default"
    assert answer.json()["scope"] == claims["scope"] == "read write"


async def test_key_in_the_body_or_bare_gives_a_jwt(client: Client) -> None:
    """The same key as form fields, or as a bare bearer, gives the same."""
    good = client.keys["good"]
    for answer in (
        await client.token(client_id=key_id(good), client_secret=good),
        await client.token(bearer(good)),
        await client.token(("Authorization", f"bEaReR   {good}")),
        await client.token(bearer(good), client_id=key_id(good)),
        await client.token(basic(key_id(good), good), client_id=key_id(good)),
    ):
        assert claims_of(answer)["client_id"] == key_id(good)


async def test_percent_encoded_basic_is_the_same(client: Client) -> None:
    """Basic credentials encoded as RFC 6749, 2.3.1 wants, or raw, are the same."""
    good = client.keys["good"]
    encoded = "".join(f"%{ord(letter):02X}" for letter in good)
    assert claims_of(await client.token(basic(quote(key_id(good)), encoded)))["client_id"] == key_id(good)


async def test_scope_is_narrowed_as_asked(client: Client) -> None:
    """Whoever asks for less gets less, and is told so."""
    answer = await client.token(bearer(client.keys["good"]), scope="write")
    assert claims_of(answer)["scope"] == answer.json()["scope"] == "write"


async def test_key_without_scopes_gives_a_jwt_without_scope(client: Client) -> None:
    """No scope is not an empty scope."""
    answer = await client.token(bearer(client.keys["other"]))
    assert "scope" not in claims_of(answer)
    assert "scope" not in answer.json()


@pytest.mark.parametrize("name", ["resource", "audience"])
async def test_audience_is_the_string_that_was_sent(client: Client, name: str) -> None:
    """`aud` is what the client sent, byte for byte."""
    assert claims_of(await client.token(bearer(client.keys["good"]), **{name: MCP}))["aud"] == MCP


async def test_same_resource_twice_is_one(client: Client) -> None:
    """`resource` may be repeated (RFC 8707); the same one twice is one audience, two are too many."""
    form = f"grant_type=client_credentials&resource={MCP}&resource="
    for second, status in ((MCP, 200), ("https://other.example.com", 400)):
        answer = await client.send(
            "POST", "/sts/token", [FORM, bearer(client.keys["good"])], [(form + second).encode()]
        )
        assert answer.status == status
    assert answer.json()["error"] == "invalid_target"


async def test_form_with_a_charset_is_a_form(client: Client) -> None:
    """Parameters of the content type change nothing."""
    headers = [("content-type", "Application/X-WWW-Form-URLencoded; charset=UTF-8"), bearer(client.keys["good"])]
    answer = await client.send("POST", "/sts/token", headers, [b"grant_type=client_", b"credentials"])
    assert answer.status == 200


async def test_empty_parameters_are_absent_and_unknown_ones_ignored(client: Client) -> None:
    """`scope=` asks for nothing; a parameter nobody knows changes nothing."""
    answer = await client.token(bearer(client.keys["good"]), scope="", resource="", client_secret="", foo="bar")
    assert claims_of(answer)["scope"] == "read write"


async def test_issuer_does_not_follow_the_host_header(prepared: Prepared, tmp_path: Path) -> None:
    """Forged Host and forwarding headers change nothing in a JWT."""
    async with serving(prepared, tmp_path, issuer="https://id.example.com/a/b") as client:
        forged = [("Host", "evil.example.com"), ("X-Forwarded-Host", "evil.example.com"), ("X-Forwarded-Proto", "http")]
        answer = await client.token(*forged, bearer(client.keys["good"]), path="/a/b/token")
        assert claims_of(answer)["iss"] == "https://id.example.com/a/b"
        assert claims_of(answer)["aud"] == "https://id.example.com/a/b/default"
