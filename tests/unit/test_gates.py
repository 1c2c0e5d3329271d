"""`/sts/gate/nginx`: the verify door's decision, in the three statuses that nginx's `auth_request` knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keystile.authority.verifier import Verifier
from keystile.errors import CannotTellError
from keystile.wiring import open_deployment
from unit.managing import ADMIN_KEY, issue
from unit.served import MCP, REFUSED, basic, bearer, key_id, serving, settings_in
from unit.test_verify_door import IDENTITY

if TYPE_CHECKING:
    from pathlib import Path

    from unit.served import Answered, Client, Prepared

NGINX = "/sts/gate/nginx"
PROXY = "127.0.0.1"


def without_status(answer: Answered) -> list[tuple[str, str]]:
    return [(name, value) for name, value in answer.headers if name != "x-auth-status"]


async def test_a_good_key_is_answered_as_at_the_verify_door(client: Client) -> None:
    """200, an empty body, a JWT and every identity header: for a key, and for one of our JWTs."""
    verified = await client.verify(bearer(client.keys["good"]))
    answer = await client.verify(bearer(client.keys["good"]), path=NGINX)
    assert answer == verified
    assert all(answer.header(name) for name in IDENTITY)
    token = ("Authorization", answer.header("authorization") or "")
    assert await client.verify(token, path=NGINX) == await client.verify(token)
    assert answer.header("x-auth-status") is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PURGE"])
@pytest.mark.parametrize(
    "path", [NGINX, f"{NGINX}/", f"{NGINX}/any/path", f"{NGINX}//x", f"{NGINX}/...", f"{NGINX}/.x"]
)
async def test_method_path_and_query_decide_nothing(client: Client, method: str, path: str) -> None:
    """Whatever the upstream request was, the answer depends on the credential alone."""
    good = await client.send(method, path, [bearer(client.keys["good"])], query="access_token=x&a=b")
    bad = await client.send(method, path, [bearer(client.keys["revoked"])], query="access_token=x&a=b")
    assert (good.status, good.body, bad.status, bad.header("x-auth-status")) == (200, b"", 401, "401")


@pytest.mark.parametrize("state", REFUSED)
async def test_a_refusal_is_that_of_the_verify_door(client: Client, state: str) -> None:
    """401 with the same challenge and body; the true status is told beside it."""
    bad = bearer(client.keys[state])
    answer, verified = await client.verify(bad, path=NGINX), await client.verify(bad)
    assert (answer.status, answer.header("x-auth-status"), answer.body) == (401, "401", verified.body)
    assert without_status(answer) == list(verified.headers)


async def test_no_credentials_is_a_bare_challenge(client: Client) -> None:
    """RFC 6750, 3: without a credential there is no error to tell."""
    answer = await client.verify(path=NGINX)
    assert (answer.status, answer.header("www-authenticate"), answer.header("x-auth-status")) == (401, "Bearer", "401")


async def test_two_credentials_are_a_401(client: Client) -> None:
    """Two Authorization headers or two different keys are never a pick; 400 would be an error of ours to nginx."""
    good, other = client.keys["good"], client.keys["other"]
    for headers in (
        [bearer(good), bearer(good)],
        [bearer(good), ("Authorization", "Digest x")],
        [bearer(good), ("X-API-Key", other)],
        [("X-API-Key", good), ("X-API-Key", other)],
        [basic(key_id(good), good), ("X-API-Key", other)],
    ):
        answer = await client.verify(*headers, path=NGINX)
        assert (answer.status, answer.header("x-auth-status")) == (401, "400")
        assert (answer.header("www-authenticate") or "").startswith("Bearer ")
        assert good.encode() not in answer.body


async def test_spent_limits_and_failures_are_a_403_with_their_wait(prepared: Prepared, tmp_path: Path) -> None:
    """A 429 is a 403 here, which throws no key away, and says how long to wait."""
    async with serving(prepared, tmp_path, admin_key=ADMIN_KEY, older_keys=True) as client:
        limited = await issue(client, requests_per_day=1)
        answers = [await client.verify(bearer(limited["api_key"]), path=NGINX) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 403]
    assert answers[1].header("x-auth-status") == "429"
    assert int(answers[1].header("retry-after") or 0) > 0
    assert answers[1].header("ratelimit")


async def test_nobody_to_ask_is_a_403_with_its_wait(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody can decide, a key may well be good: never 401, and `Retry-After` says when to come again."""

    async def cannot_tell(*_: object) -> None:
        raise CannotTellError("the directory is away", retry_after=3)

    monkeypatch.setattr(Verifier, "verify", cannot_tell)
    answer = await client.verify(bearer(client.keys["good"]), path=NGINX)
    assert (answer.status, answer.header("x-auth-status"), answer.header("retry-after")) == (403, "503", "3")


async def test_a_fault_of_ours_is_a_403(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """What should not happen is refused, and told to nobody."""

    async def broken(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(Verifier, "verify", broken)
    answer = await client.verify(bearer(client.keys["good"]), path=NGINX)
    assert (answer.status, answer.header("x-auth-status")) == (403, "500")
    assert b"secret" not in answer.body


@pytest.mark.parametrize(
    "path",
    [
        "/sts/gate/",
        "/sts/gate/unknown",
        "/sts/gate/nginxx",
        "/sts/gate/NGINX",
        "/sts/gate/nginx%20",
        "/sts/gate//nginx",
    ],
)
async def test_unknown_gates_are_not_found(client: Client, path: str) -> None:
    """RFC 9110, 15.5.5: 404 in JSON with a string `error`, whatever is presented."""
    answer = await client.verify(bearer(client.keys["good"]), path=path)
    assert (answer.status, answer.json()) == (404, {"error": "not_found"})


@pytest.mark.parametrize(
    ("path", "raw_path"),
    [
        ("/sts/gate/nginx", "/sts/gate/ngin%78"),
        ("/sts/gate/nginx/x", "/sts/gate/%6eginx/x"),
        ("/sts/gate/nginx/x", "/sts/gate/nginx%2fx"),
        ("/sts/gate/nginx/x", "/sts/gate/nginx%2Fx"),
        ("/sts/gate/nginx", "/sts/%67ate/nginx"),
        ("/sts/gate/nginx/../x", "/sts/gate/nginx%2f..%2fx"),
        ("/sts/gate/../gate/nginx", "/sts/gate/../gate/nginx"),
    ],
)
async def test_the_gate_s_name_is_read_as_it_was_sent(client: Client, path: str, raw_path: str) -> None:
    """An escape in the name, or before it, names no gate: a server in front may read it otherwise."""
    answer = await client.send("GET", path, [bearer(client.keys["good"])], raw_path=raw_path)
    assert (answer.status, answer.json()["error"]) == (404, "not_found")


@pytest.mark.parametrize(
    "below", ["..", ".", "a/../b", "./a", "a/%2e%2E/b", "a/.%2e", "a%2fb", "a%2Fb", "a%5cb", "a\\b"]
)
async def test_paths_with_two_readings_are_refused(client: Client, below: str) -> None:
    """Dot segments and encoded slashes below a gate are refused, good as the key may be."""
    answer = await client.send("GET", f"{NGINX}/x", [bearer(client.keys["good"])], raw_path=f"{NGINX}/{below}")
    assert (answer.status, answer.header("x-auth-status")) == (403, "400")


async def test_policy_sees_the_path_below_the_gate(prepared: Prepared, tmp_path: Path) -> None:
    """Where the path tells the endpoint, it is what stands below the gate, as it is at the verify door."""
    trusted = {"trusted_proxies": (f"{PROXY}/32",), "forwarded_headers": "path"}
    async with serving(prepared, tmp_path, admin_key=ADMIN_KEY, **trusted) as client:
        key = await issue(client, allowed_endpoints=["GET /v1/*"])
        for door in ("/sts/verify", NGINX):
            statuses = [
                (await client.send("GET", door + below, [bearer(key["api_key"])], peer=PROXY)).status
                for below in ("/v1/models", "/v1/models?x=1", "/v2/models", "/v1", "")
            ]
            assert statuses == [200, 200, 401, 401, 401]


async def test_use_is_counted_below_the_gate(prepared: Prepared, tmp_path: Path) -> None:
    """What a gateway asks through a gate counts as the endpoint that it is."""
    good = client_key = prepared.keys["good"]
    async with serving(prepared, tmp_path) as client:
        for path in (f"{NGINX}/orders", "/sts/verify/orders"):
            assert (await client.verify(bearer(good), path=path)).status == 200
    async with open_deployment(settings_in(tmp_path)) as deployment:
        told = await deployment.usage.usage(key_id(client_key), 2)
    assert told.totals.endpoints == {"/orders": 2}


async def test_a_jwt_for_somebody_else_is_not_passed_on(client: Client) -> None:
    """The built-in gate has the verify door's audience and no other."""
    token = (await client.token(bearer(client.keys["good"]), resource=MCP)).json()["access_token"]
    assert (await client.verify(bearer(token), path=NGINX)).status == 401
