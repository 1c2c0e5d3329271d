from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from unit.served import FORM, MCP, REFUSED, basic, bearer, key_id, serving

if TYPE_CHECKING:
    from pathlib import Path

    from unit.served import Answered, Client, Prepared

DEFAULT = "http://127.0.0.1:8400/sts/default"
INACTIVE = b'{"active":false}'
PHANTOM = ("Accept", "application/jwt")


def unsigned(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def is_inactive(answer: Answered) -> bool:
    return (answer.status, answer.body) == (200, INACTIVE)


@pytest.mark.parametrize("state", [*REFUSED, "nothing", "basic", "another_id"])
async def test_whoever_asks_must_authenticate(client: Client, state: str) -> None:
    """No key, or one that is not good, is 401 with a challenge, and learns nothing of the token (RFC 7662, 2.1)."""
    by = {
        "nothing": [],
        "basic": [("Authorization", "Basic ???")],
        "another_id": [basic(key_id(client.keys["good"]), client.keys["server"])],
    }.get(state) or ([bearer(client.keys[state])] if state in client.keys else [])
    token = f"token={client.keys['good']}".encode()
    answer = await client.send("POST", "/sts/introspect", [FORM, *by], [token])
    assert (answer.status, answer.json()) == (401, {"error": "invalid_client"})
    assert answer.header("www-authenticate") == 'Basic realm="keystile"'


async def test_key_without_the_scope_is_no_resource_server(client: Client) -> None:
    """Any other key, however good, is 403: else every key could ask about every other."""
    for token in (client.keys["good"], await client.jwt(), "x"):
        answer = await client.introspect(token, by="good")
        assert (answer.status, answer.json()) == (403, {"error": "insufficient_scope"})


async def test_jwt_is_no_way_to_ask(client: Client) -> None:
    """A JWT that leaked from a resource server, even with the scope in it, asks about nothing."""
    leaked = await client.jwt("server", scope="introspect")
    assert unsigned(leaked)["scope"] == "introspect"
    assert (await client.introspect(client.keys["good"], bearer(leaked))).status == 401


async def test_the_scope_is_never_included_unasked(client: Client) -> None:
    """A resource server's own JWTs do not say that it is one, unless it asks for that."""
    assert unsigned(await client.jwt("another_server"))["scope"] == "read"


@pytest.mark.parametrize("by", ["basic", "form", "bearer"])
async def test_resource_server_may_authenticate_in_each_way(client: Client, by: str) -> None:
    """Basic, form fields and the bare key as bearer are the same (STANDARDS, introspect)."""
    server = client.keys["server"]
    headers, fields = {
        "basic": ([basic(key_id(server), server)], {}),
        "form": ([("Authorization", "")], {"client_id": key_id(server), "client_secret": server}),
        "bearer": ([bearer(server)], {}),
    }[by]
    answer = await client.introspect(client.keys["good"], *headers, **fields)
    assert answer.json()["active"] is True


@pytest.mark.parametrize("state", REFUSED)
async def test_key_that_is_not_good_is_inactive_and_no_more(client: Client, state: str) -> None:
    """Why it is not good is for the audit log: outside, all are exactly `{"active":false}` (RFC 7662, 2.2)."""
    answer = await client.introspect(client.keys[state])
    assert is_inactive(answer)
    assert answer.header("cache-control") == "no-store"


@pytest.mark.parametrize(
    "token", ["x", "eyJ.eyJ.x", "eyJ" + "A" * 9_000 + ".e30.c2ln", "é" * 40, "a b", "mcpkey_live_"]
)
async def test_rubbish_is_inactive(client: Client, token: str) -> None:
    """Whatever somebody presented is a question with an answer, never an error of ours."""
    assert is_inactive(await client.introspect(token))


async def test_jwt_of_another_issuer_or_time_is_inactive(client: Client) -> None:
    """What we did not sign, or what has ended, is nothing."""
    good = await client.jwt(resource=MCP)
    head, body, signature = good.split(".")
    changed = signature[:-8] + ("AAAAAAAA" if not signature.endswith("AAAAAAAA") else "BBBBBBBB")
    assert is_inactive(await client.introspect(f"{head}.{body}.{changed}"))
    assert is_inactive(await client.introspect(jwt.encode(unsigned(good), "x" * 32, "HS256")))


async def test_resource_server_sees_only_what_is_meant_for_it(client: Client) -> None:
    """A JWT for somebody else is not active here, though good: `aud` decides."""
    token = await client.jwt(resource=MCP)
    assert (await client.introspect(token, by="server")).json()["aud"] == MCP
    assert is_inactive(await client.introspect(token, by="another_server"))
    for by in ("server", "another_server"):
        assert (await client.introspect(await client.jwt(), by=by)).json()["aud"] == DEFAULT


async def test_answer_on_a_key_names_only_an_audience_of_the_asker(client: Client) -> None:
    """A key that may ask for more than one audience is shown with the one that asks (its own, else the default)."""
    good = client.keys["good"]
    assert (await client.introspect(good, by="server")).json()["aud"] == MCP
    assert (await client.introspect(good, by="another_server")).json()["aud"] == DEFAULT
    assert (await client.introspect(client.keys["other"], by="server")).json()["aud"] == DEFAULT


async def test_nobody_scans_with_it(prepared: Prepared, tmp_path: Path) -> None:
    """Inactive answers are counted for each resource server; what is good is answered all the same, and to others."""
    async with serving(prepared, tmp_path, failures_per_minute=3) as client:
        good = await client.jwt()
        for guess in ("a", "b", "a", "b", "c"):
            assert is_inactive(await client.introspect(guess))
        spent = await client.introspect("d")
        assert (spent.status, spent.json()) == (429, {"error": "too_many_failures"})
        assert 0 < int(spent.header("retry-after") or 0) <= 60
        assert (await client.introspect("d", PHANTOM)).status == 429
        for token in (good, client.keys["good"]):
            assert (await client.introspect(token)).json()["active"] is True
        assert is_inactive(await client.introspect("d", by="another_server"))
        assert (await client.verify(bearer(client.keys["unknown"]))).status == 401  # its address has spent nothing


async def test_key_bound_to_its_request_is_inactive(client: Client) -> None:
    """Nobody knows here from where the key came: what cannot be judged is refused, and its JWTs are."""
    assert is_inactive(await client.introspect(client.keys["bound"]))


async def test_introspection_spends_nothing_of_the_token(client: Client) -> None:
    """A key with one request an hour still has it after being asked about."""
    for _ in range(3):
        assert (await client.introspect(client.keys["limited"])).json()["active"] is True
    token = await client.jwt("limited", resource=MCP)
    for _ in range(3):
        assert (await client.introspect(token)).json()["active"] is True
    assert (await client.token(bearer(client.keys["limited"]))).status == 429


async def test_answer_on_a_jwt(client: Client) -> None:
    """All that RFC 7662, 2.2 names, as the JWT says it, and whose it is."""
    token = await client.jwt(resource=MCP, scope="read")
    answer = await client.introspect(token, token_type_hint="refresh_token")
    told, claims = answer.json(), unsigned(token)
    assert told == {"active": True, "token_type": "Bearer", "username": "owner of good", **claims}
    assert (told["scope"], told["client_id"], told["aud"]) == ("read", key_id(client.keys["good"]), MCP)
    assert {"exp", "iat", "sub", "iss", "jti"} <= told.keys()
    assert (answer.header("cache-control"), answer.header("content-type")) == ("no-store", "application/json")
    assert answer.header("access-control-allow-origin") is None


async def test_answer_on_a_key(client: Client) -> None:
    """The same as on the JWT it would get now, but for `jti`: there is no such JWT."""
    good = client.keys["good"]
    told = (await client.introspect(good)).json()
    claims = unsigned(await client.jwt(resource=MCP))
    assert told.keys() == claims.keys() - {"jti"} | {"active", "token_type", "username"}
    same = ("iss", "sub", "aud", "client_id", "scope", "gen", "env")
    assert {name: told[name] for name in same} == {name: claims[name] for name in same}
    assert 0 < told["exp"] - time.time() <= 300
    assert good.encode() not in (await client.introspect(good)).body


async def test_phantom_token_of_a_jwt_is_itself(client: Client) -> None:
    """`Accept: application/jwt`: the bare JWT, its length, and for how long at most it may be kept."""
    token = await client.jwt(resource=MCP)
    answer = await client.introspect(token, PHANTOM)
    assert (answer.status, answer.body) == (200, token.encode())
    assert answer.header("content-type") == "application/jwt"
    assert answer.header("content-length") == str(len(token))
    (kept,) = (answer.header("cache-control") or "").split("max-age=")[1:]
    assert 0 < int(kept) <= unsigned(token)["exp"] - time.time()


async def test_phantom_token_of_a_key_is_a_jwt_for_the_asker(client: Client) -> None:
    """A gateway turns the key it was shown into a JWT that services take, for its audience and nobody else's."""
    answer = await client.introspect(client.keys["good"], ("Accept", "application/json;q=0.5, Application/JWT;q=1"))
    assert answer.status == 200
    claims = unsigned(answer.body.decode())
    assert (claims["aud"], claims["scope"], claims["client_id"]) == (MCP, "read write", key_id(client.keys["good"]))
    assert (await client.introspect(answer.body.decode())).json()["jti"] == claims["jti"]


@pytest.mark.parametrize("state", ["unknown", "revoked", "malformed"])
async def test_no_phantom_token_is_204(client: Client, state: str) -> None:
    """Inactive is 204, empty, kept by nobody: gateways make it their own 401."""
    answer = await client.introspect(client.keys[state], PHANTOM)
    assert (answer.status, answer.body, answer.header("cache-control")) == (204, b"", "no-store")
    assert answer.header("content-length") is None


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "application/token-introspection+jwt", "application/jwtx"]
)
async def test_everybody_else_gets_json(client: Client, accept: str) -> None:
    """Only who asks for `application/jwt` gets one (RFC 9701 is another media type)."""
    assert (await client.introspect(client.keys["good"], ("Accept", accept))).json()["active"] is True


async def test_unencoded_bodies_parse(client: Client) -> None:
    """Gateways send the token as it came, without encoding it."""
    headers = [FORM, bearer(client.keys["server"])]
    for token in (await client.jwt(), client.keys["good"]):
        assert (await client.send("POST", "/sts/introspect", headers, [f"token={token}".encode()])).json()["active"]
    for odd in (b"a/b+c==", b"100%", b"a=b=c", b"%zz"):
        assert is_inactive(await client.send("POST", "/sts/introspect", headers, [b"token=" + odd]))


@pytest.mark.parametrize(
    ("body", "query", "status"),
    [
        (b"", "", 400),
        (b"token=", "", 400),
        (b"token=a&token=b", "", 400),
        (b"token=a", "token=a", 400),
        (b"token=a&client_secret=b", "", 400),
        (b"token=" + b"a" * 16_384, "", 413),
    ],
)
async def test_wrong_requests_are_told_so(client: Client, body: bytes, query: str, status: int) -> None:
    """No token, two of them, one in the URL, two ways of authenticating, too much: an error of the request."""
    answer = await client.send("POST", "/sts/introspect", [FORM, bearer(client.keys["server"])], [body], query=query)
    assert (answer.status, answer.json()["error"]) == (status, "invalid_request")


@pytest.mark.parametrize("path", ["/sts/introspect", "/sts/revoke"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT"])
async def test_only_post_is_answered(client: Client, path: str, method: str) -> None:
    """Anything else is 405 and says so; a page elsewhere may not ask at all: no CORS here."""
    answer = await client.send(method, path, [("Origin", "https://evil.example.com")])
    assert (answer.status, answer.header("allow")) == (405, "POST")
    assert not [name for name, _ in answer.headers if name.startswith("access-control")]
    assert (answer.body == b"") is (method == "HEAD")


async def test_json_is_no_form(client: Client) -> None:
    """A JSON body is 400, as at the token door (RFC 7662, 2.1)."""
    headers = [("Content-Type", "application/json"), bearer(client.keys["server"])]
    assert (await client.send("POST", "/sts/introspect", headers, [b'{"token":"x"}'])).status == 400
