"""What every gateway does with its shipped configuration: a client with a key, the gateway, Keystile, the upstream."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from stack.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateways.conftest import Guarded

IDENTITY = ("x-auth-subject", "x-auth-username", "x-auth-key-id", "x-auth-scope", "x-auth-tenant", "x-auth-actor")
PATIENCE = 60.0  # seconds for any answer; the gateways' own are 4 to 30
CLIENT = "127.0.0.2"  # not where the gateways are
Header = tuple[str, str]


@dataclass(frozen=True)
class Answer:
    """What a client was told."""

    status: int
    headers: dict[str, str]
    body: bytes


def ask(
    guarded: Guarded, method: str, target: str, headers: Iterable[Header] = (), body: bytes | None = None
) -> Answer:
    """Send one request as it is written here, header by header."""
    port = guarded.gateway.port
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PATIENCE, source_address=(CLIENT, 0))
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def bearer(key: dict[str, Any]) -> Header:
    return "Authorization", f"Bearer {key['api_key']}"


def test_upstream_gets_a_jwt_that_verifies_and_who_it_is(guarded: Guarded, key: dict[str, Any]) -> None:
    """The JWT stands in `Authorization`, once, and says what the identity headers say."""
    assert ask(guarded, "GET", "/things", [bearer(key)]).status == 200
    (seen,) = guarded.upstream.take()
    (authorization,) = seen.values("authorization")
    token = authorization.removeprefix("Bearer ")
    signing = jwt.PyJWKClient(f"{guarded.world.server.url}/sts/jwks.json").get_signing_key_from_jwt(token)
    issuer = guarded.world.issuer
    claims = jwt.decode(token, signing, ["RS256"], audience=f"{issuer}/default", issuer=issuer)
    said = {name: seen.values(name) for name in IDENTITY}
    assert (claims["sub"], claims["client_id"], claims["scope"]) == (key["owner_id"], key["key_id"], "read")
    assert said == {
        "x-auth-subject": [key["owner_id"]],
        "x-auth-username": [key["owner"].replace("ë", "%C3%AB").replace(" ", "%20")],
        "x-auth-key-id": [key["key_id"]],
        "x-auth-scope": ["read"],
        "x-auth-tenant": ["-"],
        "x-auth-actor": ["-"],
    }


def test_jwt_is_passed_on_as_a_key_is(guarded: Guarded, key: dict[str, Any]) -> None:
    """A client that exchanged its key already comes through with the JWT."""
    token = guarded.world.jwt(key)
    assert ask(guarded, "GET", "/", [("Authorization", f"Bearer {token}")]).status == 200
    (seen,) = guarded.upstream.take()
    assert (seen.values("authorization"), seen.values("x-auth-key-id")) == ([f"Bearer {token}"], [key["key_id"]])


@pytest.mark.parametrize("way", ["bearer", "x-api-key", "basic"])
def test_key_reaches_the_upstream_nowhere(guarded: Guarded, key: dict[str, Any], way: str) -> None:
    """However a client presents its key, it is in no header, and in no line that anybody writes."""
    secret = key["api_key"]
    headers = {
        "bearer": [bearer(key)],
        "x-api-key": [("X-API-Key", secret)],
        "basic": [("Authorization", "Basic " + _base64(f"{key['key_id']}:{secret}"))],
    }[way]
    assert ask(guarded, "GET", "/things?page=2", headers).status == 200
    (seen,) = guarded.upstream.take()
    assert secret not in repr(seen)
    assert _base64(f"{key['key_id']}:{secret}") not in repr(seen)
    assert seen.values("x-api-key") == []
    files = [guarded.gateway.log_path, *guarded.gateway.folder.rglob("*"), *guarded.world.folder.rglob("*")]
    for path in (path for path in files if path.is_file()):
        assert secret.encode() not in path.read_bytes(), path


FORGED: dict[str, list[Header]] = {
    "as they are written": [(name.title(), "mallory") for name in IDENTITY],
    "in another case": [(name.upper(), "mallory") for name in IDENTITY],
    "with underscores": [(name.title().replace("-", "_"), "mallory") for name in IDENTITY],
    "with some underscores": [("X_Auth-Subject", "mallory"), ("X-Auth_Key_Id", "mallory"), ("x-auth_scope", "admin")],
    "twice": [(name, value) for name in IDENTITY for value in ("mallory", "root")],
    "empty": [(name, "") for name in IDENTITY],
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_forged_identity_never_reaches_the_upstream(
    guarded: Guarded, key: dict[str, Any], forged: list[Header]
) -> None:
    """Whatever a client says of its identity, the upstream hears what Keystile says, once."""
    for headers in ([*forged, bearer(key)], [bearer(key), *forged]):
        assert ask(guarded, "GET", "/", headers).status == 200
        (seen,) = guarded.upstream.take()
        assert [len(seen.values(name)) for name in IDENTITY] == [1] * len(IDENTITY), seen
        assert seen.values("x-auth-subject") == [key["owner_id"]]
        assert "mallory" not in repr(seen)


TARGETS = ["/", "/a/b.c;d=1?x=1&x=2&y=%20z", "/caf%C3%A9/~user/a%2Fb?q=a%26b+c", "/end/"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_request_arrives_as_it_was_sent(guarded: Guarded, key: dict[str, Any], method: str, target: str) -> None:
    """Method, path, query and a body of 1 MB are the client's own, and the answer is the upstream's."""
    body = os.urandom(1_000_000) if method == "POST" else b"a little" if method in ("PUT", "PATCH") else None
    answer = ask(guarded, method, target, [bearer(key), ("Content-Type", "application/x-thing")], body)
    (seen,) = guarded.upstream.take()
    assert (answer.status, answer.body) == (200, b"" if method == "HEAD" else b"from the upstream\n")
    assert (seen.method, seen.target) == (method, target)
    assert (seen.length, seen.sha256) == (len(body or b""), hashlib.sha256(body or b"").hexdigest())
    assert seen.values("content-type") == ["application/x-thing"]


def test_refusals_reach_the_client_as_such(guarded: Guarded, key: dict[str, Any]) -> None:
    """No key, a forged one, a revoked one: 401 with the challenge. Two keys: 400. The upstream hears of none."""
    ended, other = guarded.issue(), guarded.issue()
    guarded.world.revoke(ended["key_id"])
    guarded.world.verify_until(ended["api_key"], 401, meanwhile=(200,))
    forged = ("Authorization", f"Bearer {key['api_key'][:-6]}AAAAAA")
    for method in ("GET", "POST"):
        nothing = ask(guarded, method, "/", [], b"" if method == "POST" else None)
        assert (nothing.status, nothing.headers["www-authenticate"].split()[0]) == (401, "Bearer")
        for headers in ([forged], [bearer(ended)]):
            answer = ask(guarded, method, "/", headers, b"" if method == "POST" else None)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')
    assert ask(guarded, "GET", "/", [bearer(key), ("X-API-Key", other["api_key"])]).status == 400
    assert guarded.upstream.take() == []


def test_spent_limit_is_a_429_that_says_when_to_come_again(guarded: Guarded) -> None:
    """What a key may ask for and has spent reaches the client, with the numbers."""
    limited = guarded.issue(requests_per_hour=1)
    assert ask(guarded, "GET", "/", [bearer(limited)]).status == 200
    guarded.upstream.take()
    answer = ask(guarded, "GET", "/", [bearer(limited)])
    assert answer.status == 429
    assert 0 < int(answer.headers["retry-after"]) <= 3600
    assert answer.headers["ratelimit-policy"]
    assert guarded.upstream.take() == []


def test_hung_keystile_lets_nobody_through(everyone: dict[str, Guarded], key: dict[str, Any]) -> None:
    """A Keystile that answers nothing: a 5xx within each gateway's own time, also for a key that was good just now."""
    servers = {guarded.world.server.port: guarded.world.server for guarded in everyone.values()}
    for guarded in everyone.values():
        assert ask(guarded, "GET", "/", [bearer(key)]).status == 200
        guarded.upstream.take()
    for server in servers.values():
        server.suspend()
    try:
        with ThreadPoolExecutor() as pool:
            answers = list(pool.map(lambda guarded: ask(guarded, "GET", "/", [bearer(key)]), everyone.values()))
    finally:
        for server in servers.values():
            server.resume()
    assert {answer.status for answer in answers} <= {500, 502, 503, 504}
    assert everyone["nginx"].upstream.take() == []


def test_stopped_keystile_lets_nobody_through_and_comes_back(guarded: Guarded, key: dict[str, Any]) -> None:
    """No Keystile: a 5xx; and once it runs again, the key is good again."""
    guarded.world.server.stop()
    try:
        answer = ask(guarded, "GET", "/", [bearer(key)])
    finally:
        guarded.world.server.start()
    assert answer.status in (500, 502, 503)
    assert guarded.upstream.take() == []


def test_endpoint_policy_sees_the_true_method_and_path(guarded: Guarded) -> None:
    """What a client writes into the headers by which gateways tell them moves nothing."""
    bound = guarded.issue(allowed_endpoints=["GET /v1/models"])
    lies = [
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-Uri", "/v1/models"),
        ("X-Original-Method", "GET"),
        ("X-Original-URI", "/v1/models"),
    ]
    assert ask(guarded, "GET", "/v1/models?x=1", [bearer(bound)]).status == 200
    (seen,) = guarded.upstream.take()
    assert seen.target == "/v1/models?x=1"
    for method, target in (("POST", "/v1/models"), ("GET", "/v1/models/x"), ("GET", "/")):
        for headers in ([], lies):
            body = b"" if method == "POST" else None
            assert ask(guarded, method, target, [bearer(bound), *headers], body).status in (400, 401), (method, target)
    assert guarded.upstream.take() == []
    # Some gateways tidy a path before they ask about it, and send on what they asked about.
    tidied = ask(guarded, "GET", "/x/../v1/models", [bearer(bound)])
    assert (tidied.status, [seen.target for seen in guarded.upstream.take()]) in (
        (400, []),
        (401, []),
        (200, ["/v1/models"]),
    )


def test_address_policy_sees_the_true_address(guarded: Guarded) -> None:
    """A client that says it is somewhere else is where the gateway saw it."""
    here = guarded.issue(allowed_ips=[f"{CLIENT}/32"])
    elsewhere = guarded.issue(allowed_ips=["203.0.113.7/32"])
    lies = [("X-Forwarded-For", "203.0.113.7"), ("X-Real-IP", "203.0.113.7"), ("Forwarded", "for=203.0.113.7")]
    assert ask(guarded, "GET", "/", [bearer(here)]).status == 200
    assert ask(guarded, "GET", "/", [bearer(elsewhere), *lies]).status == 401
    assert len(guarded.upstream.take()) == 1


def test_paths_of_keystile_lead_to_the_upstream(guarded: Guarded, key: dict[str, Any]) -> None:
    """Nobody reaches Keystile itself through the gateway: there too, a key is turned into a JWT for the upstream."""
    for target in ("/sts/token", "/sts/verify", "/keystile", "/sts/gate/nginx", "/metrics"):
        answer = ask(guarded, "GET", target, [bearer(key)])
        reached = [seen.target for seen in guarded.upstream.take()]
        assert (answer.status, reached) in ((200, [target]), (404, []))
        assert "x-auth-key-id" not in answer.headers


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
