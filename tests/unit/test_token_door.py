from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jwt
import pytest

from unit.served import FORM, MCP, Answered, basic, bearer, key_id, serving

if TYPE_CHECKING:
    from pathlib import Path

    from unit.served import Client, Prepared


def error_of(answer: Answered, status: int = 400) -> str:
    """Return the error word of an answer that has the form RFC 6749, 5.2 asks for."""
    document = answer.json()
    assert answer.status == status
    assert set(document) <= {"error", "error_description"}
    assert answer.header("cache-control") == "no-store"
    description = document.get("error_description", "")
    assert all("\x20" <= letter <= "\x7e" and letter not in '"\\' for letter in description)
    return str(document["error"])


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
    assert error_of(answer) == "invalid_target"


@pytest.mark.parametrize("resource", ["https://other.example.com", "mcp", MCP + "#x", MCP + "/", "x" * 600])
async def test_audience_the_key_may_not_ask_for(client: Client, resource: str) -> None:
    """An audience that is not on the key's list, or is no absolute URI, is `invalid_target`."""
    assert error_of(await client.token(bearer(client.keys["good"]), resource=resource)) == "invalid_target"


@pytest.mark.parametrize("scope", ["admin", "read admin", "keys:admin", "introspect", "READ", 'a"b'])
async def test_scope_the_key_does_not_hold(client: Client, scope: str) -> None:
    """A scope not held is `invalid_scope`, never silently dropped."""
    assert error_of(await client.token(bearer(client.keys["good"]), scope=scope)) == "invalid_scope"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PURGE", "HEAD"])
async def test_other_methods_are_not_allowed(client: Client, method: str) -> None:
    """Only POST: everything else is 405 and says so."""
    answer = await client.send(method, "/sts/token", [bearer(client.keys["good"])])
    assert (answer.status, answer.header("allow")) == (405, "POST")
    assert (answer.body == b"") == (method == "HEAD")


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "multipart/form-data; boundary=x", None])
async def test_other_bodies_are_invalid_requests(client: Client, content_type: str | None) -> None:
    """The body is a form; JSON is `invalid_request`."""
    headers = [bearer(client.keys["good"])] + ([("Content-Type", content_type)] if content_type else [])
    body = b'{"grant_type":"client_credentials"}'
    assert error_of(await client.send("POST", "/sts/token", headers, [body])) == "invalid_request"


async def test_form_with_a_charset_is_a_form(client: Client) -> None:
    """Parameters of the content type change nothing."""
    headers = [("content-type", "Application/X-WWW-Form-URLencoded; charset=UTF-8"), bearer(client.keys["good"])]
    answer = await client.send("POST", "/sts/token", headers, [b"grant_type=client_", b"credentials"])
    assert answer.status == 200


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("", "invalid_request"),
        ("grant_type=", "invalid_request"),
        ("grant_type=client_credentials&grant_type=client_credentials", "invalid_request"),
        ("grant_type=client_credentials&scope=read&scope=write", "invalid_request"),
        ("grant_type=password", "unsupported_grant_type"),
        ("grant_type=Client_Credentials", "unsupported_grant_type"),
        ("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange", "unsupported_grant_type"),
        ("grant_type=client_credentials&scope=%FF", "invalid_request"),
        ("&".join(f"a{number}=b" for number in range(60)), "invalid_request"),
        ("grant_type=client_credentials\u00e9", "invalid_request"),
    ],
)
async def test_malformed_requests_say_what_is_wrong(client: Client, body: str, error: str) -> None:
    """Missing, repeated, unknown or undecodable parameters have the errors RFC 6749, 5.2 names."""
    answer = await client.send("POST", "/sts/token", [FORM, bearer(client.keys["good"])], [body.encode()])
    assert error_of(answer) == error


async def test_empty_parameters_are_absent_and_unknown_ones_ignored(client: Client) -> None:
    """`scope=` asks for nothing; a parameter nobody knows changes nothing."""
    answer = await client.token(bearer(client.keys["good"]), scope="", resource="", client_secret="", foo="bar")
    assert claims_of(answer)["scope"] == "read write"


async def test_two_ways_of_authenticating_are_one_too_many(client: Client) -> None:
    """A client uses one method (RFC 6749, 2.3), even if both would do."""
    good = client.keys["good"]
    for answer in (
        await client.token(basic(key_id(good), good), client_id=key_id(good), client_secret=good),
        await client.token(bearer(good), client_secret=good),
        await client.token(basic(key_id(good), good), bearer(good)),
        await client.token(bearer(good), ("X-API-Key", client.keys["other"])),
        await client.token(basic(key_id(good), good), client_id="somebody"),
    ):
        assert error_of(answer) == "invalid_request"


@pytest.mark.parametrize("name", ["client_secret", "access_token", "api_key", "subject_token", "client_assertion"])
async def test_credentials_in_the_query_are_refused(client: Client, name: str) -> None:
    """A URL ends up in logs: a key in it is refused though it is good, and is not repeated."""
    good = client.keys["good"]
    answer = await client.token(bearer(good), query=f"{name}={good}")
    assert error_of(answer) == "invalid_request"
    assert good.encode() not in answer.body


@pytest.mark.parametrize(
    "value",
    [
        "Basic",
        "Basic !!!",
        "Basic YQ==",
        "Basic Og==",
        "Basic w6k6w6k=",
        "Basic " + "A" * 9_000,
        "Digest x",
        "",
    ],
)
async def test_bad_basic_is_an_unknown_client(client: Client, value: str) -> None:
    """Credentials nobody can read are 401 with a challenge, like wrong ones."""
    answer = await client.token(("Authorization", value))
    assert error_of(answer, 401) == "invalid_client"
    assert (answer.header("www-authenticate") or "").startswith("Basic ")


async def test_key_with_the_id_of_another_is_an_unknown_client(client: Client) -> None:
    """The id must be that of the key, in Basic and in the body; an empty one is not."""
    good, other = client.keys["good"], key_id(client.keys["other"])
    for answer in (
        await client.token(basic(other, good)),
        await client.token(basic("", good)),
        await client.token(client_id=other, client_secret=good),
        await client.token(client_secret=good),
        await client.token(bearer(good), client_id=other),
    ):
        assert error_of(answer, 401) == "invalid_client"


async def test_no_credentials_at_all_is_an_unknown_client(client: Client) -> None:
    """Whoever shows nothing is asked to."""
    assert error_of(await client.token(), 401) == "invalid_client"


async def test_issuer_does_not_follow_the_host_header(prepared: Prepared, tmp_path: Path) -> None:
    """Forged Host and forwarding headers change nothing in a JWT."""
    async with serving(prepared, tmp_path, issuer="https://id.example.com/a/b") as client:
        forged = [("Host", "evil.example.com"), ("X-Forwarded-Host", "evil.example.com"), ("X-Forwarded-Proto", "http")]
        answer = await client.token(*forged, bearer(client.keys["good"]), path="/a/b/token")
        assert claims_of(answer)["iss"] == "https://id.example.com/a/b"
        assert claims_of(answer)["aud"] == "https://id.example.com/a/b/default"
