from __future__ import annotations

from typing import TYPE_CHECKING

import jwt
import pytest

from unit.served import FORM, MCP, basic, bearer, key_id

if TYPE_CHECKING:
    from unit.served import Client

IDENTITY = ("X-Auth-Subject", "X-Auth-Username", "X-Auth-Key-Id", "X-Auth-Scope", "X-Auth-Tenant", "X-Auth-Actor")


async def test_key_is_exchanged_for_headers(client: Client) -> None:
    """A good key is 200, an empty body, a JWT for the upstream and every identity header."""
    good = client.keys["good"]
    answer = await client.verify(bearer(good))
    assert (answer.status, answer.body, answer.header("content-length")) == (200, b"", "0")
    assert answer.header("cache-control") == "no-store"
    token = (answer.header("authorization") or "").removeprefix("Bearer ")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["aud"] == "http://127.0.0.1:8400/sts/default"
    assert {name: answer.header(name) for name in IDENTITY} == {
        "X-Auth-Subject": claims["sub"],
        "X-Auth-Username": "owner%20of%20good",
        "X-Auth-Key-Id": key_id(good),
        "X-Auth-Scope": "read write",
        "X-Auth-Tenant": "-",
        "X-Auth-Actor": "-",
    }


async def test_every_identity_header_is_there_even_for_nothing(client: Client) -> None:
    """A header left out, or empty, would let the client's own one through the gateway."""
    answer = await client.verify(bearer(client.keys["other"]))
    assert all(answer.header(name) for name in IDENTITY)
    assert answer.header("X-Auth-Scope") == "-"


@pytest.mark.parametrize("form", ["bearer", "x-api-key", "basic", "both", "case"])
async def test_key_may_come_in_several_ways(client: Client, form: str) -> None:
    """Bearer, Basic and X-API-Key are the same key; the same key twice is one key."""
    good = client.keys["good"]
    headers = {
        "bearer": [bearer(good)],
        "x-api-key": [("X-API-Key", good)],
        "basic": [basic(key_id(good), good)],
        "both": [("X-API-Key", good), bearer(good)],
        "case": [("authorization", f"BEARER {good} ")],
    }[form]
    assert (await client.verify(*headers)).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE", "M-SEARCH"])
@pytest.mark.parametrize("path", ["/sts/verify", "/sts/verify/", "/sts/verify/any/path", "/sts/verify//..//x"])
async def test_method_path_and_query_decide_nothing(client: Client, method: str, path: str) -> None:
    """Whatever the upstream request was, the answer depends on the credential alone."""
    good = await client.send(method, path, [bearer(client.keys["good"])], query="access_token=x&a=b")
    bad = await client.send(method, path, [bearer(client.keys["revoked"])], query="access_token=x&a=b")
    assert (good.status, good.body, bad.status) == (200, b"", 401)


@pytest.mark.parametrize("path", ["/sts/verifyx", "/sts/verif", "/STS/verify", "/sts/verify.json", "/verify"])
async def test_other_paths_are_not_the_door(client: Client, path: str) -> None:
    """Only the door's own path and what is below it."""
    assert (await client.verify(bearer(client.keys["good"]), path=path)).status == 404


async def test_credentials_in_the_url_are_none(client: Client) -> None:
    """A key in the query is not looked at."""
    answer = await client.send("GET", "/sts/verify", query=f"api_key={client.keys['good']}")
    assert (answer.status, answer.header("www-authenticate")) == (401, "Bearer")


async def test_body_is_not_read(client: Client) -> None:
    """A gateway sends none, and one that is sent is left alone, however large."""
    answer = await client.send("POST", "/sts/verify", [FORM, bearer(client.keys["good"])], [b"x" * 100_000] * 3)
    assert answer.status == 200


@pytest.mark.parametrize("value", [None, "", "Digest username=x", "Negotiate abc", "Bearer\tabc"])
async def test_no_credentials_is_a_bare_challenge(client: Client, value: str | None) -> None:
    """Whoever shows nothing we know is asked for a bearer, without an error (RFC 6750, 3)."""
    answer = await client.verify(*([("Authorization", value)] if value is not None else []))
    assert (answer.status, answer.header("www-authenticate")) == (401, "Bearer")
    assert answer.json() == {"error": "invalid_token"}


async def test_bad_credentials_are_an_invalid_token(client: Client) -> None:
    """A wrong key is told so, and no more."""
    answer = await client.verify(bearer("mcpkey_live_nonsense"))
    assert (answer.status, answer.header("www-authenticate")) == (401, 'Bearer error="invalid_token"')


async def test_two_authorization_headers_are_never_a_pick(client: Client) -> None:
    """Two headers, even the same twice, are 400: gateways differ in which one they would forward."""
    good = client.keys["good"]
    for second in (bearer(good), bearer(client.keys["other"]), ("Authorization", "Digest x")):
        assert (await client.verify(bearer(good), second)).status == 400


async def test_two_different_keys_are_never_a_pick(client: Client) -> None:
    """Two keys in one request are 400, whichever of them is good."""
    good, other = client.keys["good"], client.keys["other"]
    for headers in (
        [bearer(good), ("X-API-Key", other)],
        [("X-API-Key", good), ("X-API-Key", other)],
        [bearer(good), ("X-API-Key", "")],
        [basic(key_id(good), good), ("X-API-Key", client.keys["revoked"])],
    ):
        answer = await client.verify(*headers)
        assert answer.status == 400
        assert answer.json()["error"] == "invalid_request"
        assert good.encode() not in answer.body


async def test_clients_own_identity_headers_decide_nothing(client: Client) -> None:
    """What the client says of itself is not repeated."""
    forged = [(name, "admin") for name in IDENTITY]
    answer = await client.verify(*forged, bearer(client.keys["other"]))
    assert "admin" not in [answer.header(name) for name in IDENTITY]


async def test_our_jwt_is_passed_on_unchanged(client: Client) -> None:
    """A JWT of the default audience goes through as it is, with the identity of its key."""
    good = client.keys["good"]
    token = (await client.token(bearer(good), scope="read")).json()["access_token"]
    answer = await client.verify(bearer(token))
    assert (answer.status, answer.header("authorization")) == (200, f"Bearer {token}")
    assert (answer.header("X-Auth-Scope"), answer.header("X-Auth-Key-Id")) == ("read", key_id(good))


async def test_jwt_for_somebody_else_is_not_passed_on(client: Client) -> None:
    """A JWT of another audience is no credential here."""
    token = (await client.token(bearer(client.keys["good"]), resource=MCP)).json()["access_token"]
    answer = await client.verify(bearer(token))
    assert (answer.status, answer.json()) == (401, {"error": "invalid_token"})


@pytest.mark.parametrize("text", ["eyJ.x.y", "eyJhbGciOiJub25lIn0.e30.", "eyJ" + "A" * 9_000 + ".e30.x", "eyJ.."])
async def test_what_looks_like_a_jwt_is_refused_like_a_key(client: Client, text: str) -> None:
    """Rubbish in the form of a JWT is an invalid token, however long."""
    answer = await client.verify(bearer(text))
    assert (answer.status, answer.json()) == (401, {"error": "invalid_token"})


async def test_jwt_handed_out_is_used_again_for_a_while(client: Client) -> None:
    """A gateway that asks for every request does not cost a signature each time."""
    answers = [await client.verify(bearer(client.keys["good"])) for _ in range(3)]
    assert len({answer.header("authorization") for answer in answers}) == 1
