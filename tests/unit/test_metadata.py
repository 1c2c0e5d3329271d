"""The authorization server metadata (RFC 8414): where it is, that it is honest, and who may read what from a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from unit.served import FORM, basic, bearer, key_id, serving

if TYPE_CHECKING:
    from pathlib import Path

    from unit.served import Answered, Client, Prepared

ORIGIN = "http://127.0.0.1:8400"
PLACES = (
    "/.well-known/oauth-authorization-server/sts",
    "/.well-known/openid-configuration/sts",
    "/sts/.well-known/openid-configuration",
)
every_place = pytest.mark.parametrize("place", PLACES)


async def read(client: Client, place: str = PLACES[0]) -> dict[str, Any]:
    document: dict[str, Any] = (await client.send("GET", place)).json()
    return document


def is_open(answer: Answered) -> bool:
    return answer.header("access-control-allow-origin") == "*"


@every_place
@pytest.mark.parametrize("host", ["127.0.0.1:8400", "evil.example.com"])
async def test_issuer_is_the_setting_at_every_place(client: Client, place: str, host: str) -> None:
    """The same document at all three, byte for byte, whatever Host and forwarding headers say (RFC 8414, 3.1)."""
    forged = [("Host", host), ("X-Forwarded-Host", "evil.example.com"), ("X-Forwarded-Proto", "gopher")]
    forged += [("Forwarded", "host=evil.example.com"), ("X-Forwarded-Prefix", "/evil")]
    answer = await client.send("GET", place, forged)
    assert answer.json()["issuer"] == f"{ORIGIN}/sts"
    assert answer.body == (await client.send("GET", PLACES[0])).body
    assert b"evil" not in answer.body
    assert is_open(answer)


async def test_places_follow_the_path_of_the_issuer(prepared: Prepared, tmp_path: Path) -> None:
    """An issuer with two segments has its document behind them and before them."""
    async with serving(prepared, tmp_path, issuer="https://id.example.com/a/b") as client:
        for place in PLACES:
            document = await read(client, place.replace("/sts", "/a/b"))
            assert document["issuer"] == "https://id.example.com/a/b"
            assert document["introspection_endpoint"] == "https://id.example.com/a/b/introspect"
            assert (await client.send("GET", place)).status == 404


async def test_nothing_is_empty(client: Client) -> None:
    """A list without members is left out (RFC 8414, 3.2)."""
    document = await read(client)
    assert document["grant_types_supported"] == [
        "client_credentials",
        "urn:ietf:params:oauth:grant-type:token-exchange",
    ]
    assert all(value not in ("", [], None) for value in document.values())


async def test_every_endpoint_named_exists(client: Client) -> None:
    """What is listed answers, below the issuer; the form doors take POST alone and say so."""
    document = await read(client)
    endpoints = {
        name: url.removeprefix(ORIGIN) for name, url in document.items() if name.endswith(("_endpoint", "_uri"))
    }
    assert {"token_endpoint", "jwks_uri", "introspection_endpoint", "revocation_endpoint"} <= endpoints.keys()
    for path in endpoints.values():
        assert path.startswith("/sts/")
        assert (await client.send("GET", path)).status != 404
    for name in ("token_endpoint", "introspection_endpoint", "revocation_endpoint"):
        assert (await client.send("GET", endpoints[name])).header("allow") == "POST"


@pytest.mark.parametrize("endpoint", ["token", "introspection", "revocation"])
async def test_every_way_of_authenticating_named_works(client: Client, endpoint: str) -> None:
    """Each listed method is taken, `private_key_jwt` in tests of its own; RFC 7523's without a good one is not."""
    document, key = await read(client), client.keys["server"]
    ways: dict[str, tuple[list[tuple[str, str]], str]] = {
        "client_secret_basic": ([basic(key_id(key), key)], ""),
        "client_secret_post": ([], f"&client_id={key_id(key)}&client_secret={key}"),
        "Bearer": ([bearer(key)], ""),
    }
    path = document[f"{endpoint}_endpoint"].removeprefix(ORIGIN)
    body = "grant_type=client_credentials&token=x"
    for method in document[f"{endpoint}_endpoint_auth_methods_supported"]:
        if method == "private_key_jwt":
            continue
        headers, fields = ways[method]
        assert (await client.send("POST", path, [FORM, *headers], [(body + fields).encode()])).status == 200, method
    assertion = "&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer&client_assertion=x.y.z"
    assert (await client.send("POST", path, [FORM], [(body + assertion).encode()])).status == 401


@pytest.mark.parametrize("path", [*PLACES, "/sts/jwks.json"])
async def test_public_documents_may_be_read_by_pages(client: Client, path: str) -> None:
    """GET and HEAD alike; other methods are 405 and name those that are."""
    got, head = [await client.send(method, path, [("Origin", "https://app.example.com")]) for method in ("GET", "HEAD")]
    assert (got.status, head.status) == (200, 200)
    assert is_open(got)
    assert is_open(head)
    options, post = [await client.send(method, path) for method in ("OPTIONS", "POST")]
    assert options.status in (200, 204)
    assert (post.status, post.json()["error"]) == (405, "method_not_allowed")
    for answer in (options, post):
        assert {"GET", "HEAD"} <= set((answer.header("allow") or "").split(", "))


@pytest.mark.parametrize(
    "path",
    ["/sts/token", "/sts/introspect", "/sts/revoke", "/sts/authorize", "/sts/verify", "/sts/nothing", "/healthz"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_nothing_else_may_be_read_by_pages(client: Client, path: str, method: str) -> None:
    """A page of somebody else reads no answer of any other endpoint (no CORS)."""
    preflight = [("Origin", "https://evil.example.com"), ("Access-Control-Request-Method", "POST")]
    answer = await client.send(method, path, preflight)
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server/other",
        "/sts/.well-known/oauth-authorization-server",
        "/sts/introspect/",
        "/sts/revoke/x",
        "/sts/register",
    ],
)
async def test_other_places_are_404_in_json(client: Client, path: str) -> None:
    """Beside OAuth paths a 404 is JSON with a string `error`: clients parse it."""
    for method in ("GET", "POST"):
        answer = await client.send(method, path)
        assert answer.status == 404
        assert isinstance(answer.json()["error"], str)
