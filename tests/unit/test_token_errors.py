from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from unit.served import FORM, MCP, Answered, basic, bearer, key_id

if TYPE_CHECKING:
    from unit.served import Client


def error_of(answer: Answered, status: int = 400) -> str:
    """Return the error word of an answer that has the form RFC 6749, 5.2 asks for."""
    document = answer.json()
    assert answer.status == status
    assert set(document) <= {"error", "error_description"}
    assert answer.header("cache-control") == "no-store"
    description = document.get("error_description", "")
    assert all("\x20" <= letter <= "\x7e" and letter not in '"\\' for letter in description)
    return str(document["error"])


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


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("", "invalid_request"),
        ("grant_type=", "invalid_request"),
        ("grant_type=client_credentials&grant_type=client_credentials", "invalid_request"),
        ("grant_type=client_credentials&scope=read&scope=write", "invalid_request"),
        ("grant_type=password", "unsupported_grant_type"),
        ("grant_type=Client_Credentials", "unsupported_grant_type"),
        ("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer", "unsupported_grant_type"),
        ("grant_type=client_credentials&scope=%FF", "invalid_request"),
        ("&".join(f"a{number}=b" for number in range(60)), "invalid_request"),
        ("grant_type=client_credentials\u00e9", "invalid_request"),
    ],
)
async def test_malformed_requests_say_what_is_wrong(client: Client, body: str, error: str) -> None:
    """Missing, repeated, unknown or undecodable parameters have the errors RFC 6749, 5.2 names."""
    answer = await client.send("POST", "/sts/token", [FORM, bearer(client.keys["good"])], [body.encode()])
    assert error_of(answer) == error


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
