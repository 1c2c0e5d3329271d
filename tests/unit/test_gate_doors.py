"""Configured gates: the verify door's decision for an audience and scopes of their own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.adapters.signing.issuer import LocalTokenIssuer
from keystile.http import gates as gates_module
from keystile.http.gates import Gates
from unit.gated import DEFAULT, GATES, METADATA, PROXY, ask, claims_in, gated
from unit.managing import ask as manage
from unit.managing import issue
from unit.served import MCP, REFUSED, basic, bearer, key_id
from unit.test_refusals_alike import shown
from unit.test_verify_door import IDENTITY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from keystile.http.asgi import Receive, Scope, Send
    from unit.served import Answered, Client, Prepared

# What a key with the scopes read and write passes.
FOR_MCP = {"mcp", "readers", "writers", "mcp-by-nginx", "kept", "by_path", "renamed"}
ADMINS = {"admins", "admins-by-nginx", "described"}


@pytest.fixture
async def client(prepared: Prepared, tmp_path: Path) -> AsyncIterator[Client]:
    async with gated(prepared, tmp_path) as opened:
        yield opened


def told(answer: Answered) -> int:
    """Return the true status of an answer."""
    return int(answer.header("x-auth-status") or answer.status)


# What each kind of credential passes, and where it only lacks a scope; all else is 401 to it.
FITS: dict[str, tuple[set[str], set[str]]] = {
    **dict.fromkeys(("key", "key in X-API-Key", "key by Basic"), (FOR_MCP | {"home"}, ADMINS)),
    "key that may read": (FOR_MCP - {"writers"} | {"home"}, ADMINS | {"writers"}),
    "key without audiences": ({"home"}, set()),
    "JWT": (FOR_MCP, ADMINS),
    "JWT that may read": (FOR_MCP - {"writers"}, ADMINS | {"writers"}),
    "JWT by default": ({"home"}, set()),
}


async def credentials(client: Client) -> dict[str, list[tuple[str, str]]]:
    """Return every kind of credential."""
    good, other, keys = client.keys["good"], client.keys["other"], client.keys
    reader = await issue(client, audiences=[MCP], scopes=["read"])
    return {
        "key": [bearer(good)],
        "key in X-API-Key": [("X-API-Key", good)],
        "key by Basic": [basic(key_id(good), good)],
        "key that may read": [bearer(reader["api_key"])],
        "key without audiences": [bearer(other)],
        "JWT": [bearer(await client.jwt(resource=MCP))],
        "JWT that may read": [bearer(await client.jwt(resource=MCP, scope="read"))],
        "JWT by default": [bearer(await client.jwt())],
        "nothing": [],
        "two keys": [bearer(good), ("X-API-Key", other)],
        "key under another id": [basic(key_id(other), good)],
        **{state: [bearer(keys[state])] for state in REFUSED},
    }


def expected(gate: str, kind: str) -> int:
    """Return the true status of an answer."""
    passes, lacks_scope = FITS.get(kind, (set(), set()))
    if gate in passes:
        return 200
    return 403 if gate in lacks_scope else 400 if kind == "two keys" else 401


async def test_every_gate_and_every_kind_of_credential(client: Client) -> None:
    """What passes passes with a JWT for the gate's audience; all else gets none, kept by nobody, with its status."""
    for kind, headers in (await credentials(client)).items():
        for gate in GATES:
            answer = await ask(client, gate, *headers)
            assert told(answer) == expected(gate, kind), (gate, kind)
            if answer.status == 200:
                assert (answer.body, claims_in(answer)["aud"]) == (b"", DEFAULT if gate == "home" else MCP)
            else:
                assert answer.json()["error"]
                assert (answer.header("authorization"), answer.header("cache-control")) == (None, "no-store")


async def test_a_key_is_exchanged_as_at_the_verify_door(client: Client) -> None:
    """The answer is the verify door's but for the JWT's audience: all scopes of the key, all headers."""
    good = bearer(client.keys["good"])
    verified, answer = await client.verify(good), await ask(client, "readers", good)
    assert [name for name, _ in answer.headers] == [
        *("authorization", *(name.lower() for name in IDENTITY)),
        *("cache-control", "content-length"),
    ]
    assert [answer.header(name) for name in IDENTITY] == [verified.header(name) for name in IDENTITY]
    assert claims_in(answer)["scope"] == "read write"
    assert (answer.header("cache-control"), answer.header("vary")) == ("no-store", None)
    assert await ask(client, "readers", good) == answer  # prepared
    assert (await client.verify(good)).header("authorization") == verified.header("authorization")
    tokens = {(await ask(client, gate, good)).header("authorization") for gate in ("mcp", "readers", "kept", "home")}
    assert len(tokens) == 4


async def test_one_of_our_jwts_is_passed_on_unchanged(client: Client) -> None:
    """For exactly this audience, with the scopes: as it came."""
    token = await client.jwt(resource=MCP, scope="read")
    answer = await ask(client, "mcp", bearer(token))
    assert (answer.header("authorization"), answer.header("x-auth-scope")) == (f"Bearer {token}", "read")


async def test_refusals_look_alike(client: Client) -> None:
    """A key that is not for this gate cannot be told from one that is revoked, or forged."""
    for gate in ("mcp", "mcp-by-nginx"):
        answers = [await ask(client, gate, bearer(client.keys[state])) for state in (*REFUSED, "other")]
        verified = await client.verify(bearer(client.keys["revoked"]))
        assert len({shown(answer) for answer in answers}) == 1
        assert (told(answers[0]), answers[0].body) == (401, verified.body)


async def test_a_missing_scope_is_named_to_the_holder_of_a_key(client: Client) -> None:
    """RFC 6750, 3.1: 403 with the scopes it takes, but only to who proved a key."""
    for gate, scopes in (("admins", "read admin"), ("admins-by-nginx", "admin")):
        for credential in (client.keys["good"], await client.jwt(resource=MCP)):
            answer = await ask(client, gate, bearer(credential))
            assert (answer.status, told(answer), answer.json()) == (403, 403, {"error": "insufficient_scope"})
            challenge = f'Bearer error="insufficient_scope", scope="{scopes}"'
            assert answer.header("www-authenticate") == challenge
        for state in ("wrong_secret", "revoked", "other"):
            assert "scope" not in str((await ask(client, gate, bearer(client.keys[state]))).headers)


async def test_a_gate_leads_clients_to_the_metadata_of_what_it_guards(client: Client) -> None:
    """RFC 9728, 5.1: every challenge names it, so that an MCP client finds the issuer."""
    leads = f'resource_metadata="{METADATA}"'
    asked = {
        f"Bearer {leads}": await ask(client, "described"),
        f'Bearer error="invalid_token", {leads}': await ask(client, "described", bearer(client.keys["forged"])),
        f'Bearer error="insufficient_scope", scope="admin", {leads}': await ask(
            client, "described", bearer(client.keys["good"])
        ),
    }
    for challenge, answer in asked.items():
        assert answer.header("www-authenticate") == challenge


@pytest.mark.parametrize("audiences", [(), (MCP,), ("https://another.example.com",)])
async def test_an_audience_is_allowed_as_at_the_token_door(
    prepared: Prepared, tmp_path: Path, audiences: tuple[str, ...]
) -> None:
    """The key's list within `KEYSTILE_AUDIENCES` decides at both, and by default anything listed."""
    async with gated(prepared, tmp_path, audiences=audiences) as client:
        for state in ("good", "other", "another_server"):
            asked = await client.token(bearer(client.keys[state]), resource=MCP)
            answer = await ask(client, "mcp", bearer(client.keys[state]))
            assert (asked.status == 200) is (answer.status == 200)
            assert (answer.status == 200) is (state == "good" and audiences in ((), (MCP,)))


async def test_headers_may_have_other_names(client: Client) -> None:
    """Renamed ones stand in for the usual ones, always there and never empty; what the client sent is not repeated."""
    forged = [("X-User", "admin"), ("Remote-Tenant", "admin"), ("X-Auth-Subject", "admin")]
    token = await client.jwt(resource=MCP)
    for credential in (client.keys["good"], client.keys["good"], token):
        answer = await ask(client, "renamed", bearer(credential), *forged)
        assert answer.header("x-user") == claims_in(answer)["sub"]
        assert (answer.header("remote-tenant"), answer.header("x-auth-actor")) == ("-", "-")
        assert (answer.header("x-auth-subject"), answer.header("x-auth-tenant")) == (None, None)


async def test_a_yes_may_be_kept_for_a_while(client: Client) -> None:
    """A gateway is told for how long, and what the answer depends on; keys and JWTs alike, refusals never."""
    token = await client.jwt(resource=MCP)
    for credential in (client.keys["good"], client.keys["good"], token):
        answer = await ask(client, "kept", bearer(credential))
        assert (answer.header("cache-control"), answer.header("vary")) == ("max-age=5", "authorization, x-api-key")
    for state in ("revoked", "other", "forged"):
        assert (await ask(client, "kept", bearer(client.keys[state]))).header("cache-control") == "no-store"
    assert (await ask(client, "kept")).header("cache-control") == "no-store"


async def test_nothing_is_kept_beyond_a_jwt(prepared: Prepared, tmp_path: Path) -> None:
    """A JWT handed out again to its half, and kept after that, is still good at the end."""
    async with gated(prepared, tmp_path, token_ttl="4s") as client:
        token = await client.jwt(resource=MCP)
        for credential, most in ((client.keys["good"], 2), (token, 4)):
            kept = (await ask(client, "kept", bearer(credential))).header("cache-control") or ""
            assert kept == "no-store" or int(kept.removeprefix("max-age=")) <= most
    async with gated(prepared, tmp_path, token_ttl="1s") as client:
        assert (await ask(client, "kept", bearer(client.keys["good"]))).header("cache-control") == "no-store"


async def test_what_must_be_judged_or_counted_each_time_is_never_kept(client: Client) -> None:
    """A key bound to endpoints or addresses, one with limits, and a JWT that somebody acts by: `no-store`."""
    agent = await issue(client, owner="agent")
    bound = await issue(client, audiences=[MCP], allowed_endpoints=["GET /v1/*"], name="bound")
    counted = await issue(client, audiences=[MCP], level="paid", name="counted")
    person = await issue(client, audiences=[MCP], may_act=[agent["key_id"]], name="person")
    acted = await client.token(
        grant_type="urn:ietf:params:oauth:grant-type:token-exchange",
        subject_token=person["api_key"],
        subject_token_type="urn:keystile:token-type:api-key",
        actor_token=agent["api_key"],
        actor_token_type="urn:keystile:token-type:api-key",
        resource=MCP,
    )
    for credential in (bound["api_key"], counted["api_key"], acted.json()["access_token"]):
        for _ in range(2):
            answer = await client.send("GET", "/sts/gate/by_path/v1/x", [bearer(credential)], peer=PROXY)
            assert (answer.status, answer.header("cache-control"), answer.header("vary")) == (200, "no-store", None)
    assert answer.header("x-auth-actor") == claims_in(answer)["act"]["sub"]


async def test_an_endpoint_is_judged_as_the_gate_is_told_it(client: Client) -> None:
    """A gate's own convention says which request it is about; what was decided once says nothing of the next."""
    key = bearer((await issue(client, audiences=[MCP], allowed_endpoints=["GET /v1/*"]))["api_key"])
    forwarded = [("X-Forwarded-Method", "GET"), ("X-Forwarded-Uri", "/v1/models")]
    asked: list[tuple[str, str, list[tuple[str, str]], int]] = [
        ("by_path", "/v1/models?x=1", [], 200),
        ("by_path", "/v2/models", forwarded, 401),
        ("by_path", "", forwarded, 401),
        ("mcp", "/v2/models", forwarded, 200),
        ("mcp", "/v1/models", [], 401),
    ]
    for gate, below, headers, status in asked * 2:
        answer = await client.send("GET", f"/sts/gate/{gate}{below}", [key, *headers], peer=PROXY)
        assert answer.status == status, (gate, below)
    assert (await client.token(key, resource=MCP)).json()["error"] == "invalid_target"


async def test_the_audit_log_says_which_gate(
    prepared: Prepared, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A success, a refusal and what was thrown away name the gate, and hold no key."""
    asked = [("good", "mcp"), ("other", "elsewhere"), ("good", "admins"), ("suspended", "kept"), ("forged", "mcp")]
    async with gated(prepared, tmp_path) as client:
        for state, gate in asked:
            await ask(client, gate, bearer(client.keys[state]))
    written = capsys.readouterr().err
    lines = [json.loads(line) for line in written.splitlines() if line.startswith("{")]
    assert [(line["outcome"], line.get("reason"), line["door"]) for line in lines if "door" in line] == [
        ("accepted", None, "gate/mcp"),
        ("refused", "audience_denied", "gate/elsewhere"),
        ("refused", "scope_denied", "gate/admins"),
        ("refused", "suspended", "gate/kept"),
        ("refused", "forged", "gate/mcp"),
    ]
    assert not any(prepared.keys[state][-20:] in written for state, _ in asked)


async def test_a_limit_is_one_for_all_doors(client: Client) -> None:
    """A refusal spends nothing; a yes at a gate spends what `/sts/verify` would have."""
    key = bearer((await issue(client, audiences=[MCP], scopes=["read"], requests_per_month=3))["api_key"])
    assert (await ask(client, "writers", key)).status == 403
    answers = [await ask(client, "mcp", key), await client.verify(key), await ask(client, "mcp", key)]
    answers += [await ask(client, "mcp", key), await ask(client, "mcp-by-nginx", key)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 403]
    assert all(answer.header("ratelimit") for answer in answers)
    assert told(answers[-1]) == 429
    assert answers[-1].header("retry-after")


async def test_failed_look_ups_count_as_at_the_verify_door(prepared: Prepared, tmp_path: Path) -> None:
    """Guessing at one gate spends the failures of the address at all of them; a good key is answered all the same."""
    async with gated(prepared, tmp_path, failures_per_minute=1, stamps="advisory") as client:
        assert (await ask(client, "mcp", bearer(client.keys["unknown"]))).status == 401
        for gate, status in (("elsewhere", 429), ("mcp-by-nginx", 403)):
            answer = await ask(client, gate, bearer(client.keys["forged"]))
            assert (answer.status, told(answer), answer.json()) == (status, 429, {"error": "too_many_failures"})
            assert answer.header("retry-after")
        assert (await ask(client, "mcp", bearer(client.keys["good"]))).status == 200


async def test_a_revoke_bites_at_every_gate(client: Client) -> None:
    """Prepared answers and JWTs handed out end with the key, and narrowed audiences close the gate."""
    issued = [await issue(client, audiences=[MCP], name=name) for name in ("one", "two")]
    keys = [bearer(each["api_key"]) for each in issued]
    tokens = [("Authorization", (await ask(client, "mcp", key)).header("authorization") or "") for key in keys]
    assert [(await ask(client, "mcp", each)).status for each in (*keys, *tokens)] == [200] * 4
    first, second = (f"/keys/{each['key_id']}" for each in issued)
    assert (await manage(client, "DELETE", first)).status == 200
    assert (await manage(client, "PATCH", second, {"audiences": []})).status == 200
    assert [(await ask(client, "mcp", each)).status for each in (*keys, *tokens)] == [401] * 4
    assert (await client.verify(keys[1])).status == 200


async def test_what_is_prepared_follows_its_key(client: Client) -> None:
    """A wider policy kills no JWT, but the next one has the new scopes."""
    key = await issue(client, audiences=[MCP], scopes=["read"])
    assert claims_in(await ask(client, "mcp", bearer(key["api_key"])))["scope"] == "read"
    assert (await manage(client, "PATCH", f"/keys/{key['key_id']}", {"scopes": ["read", "write"]})).status == 200
    assert claims_in(await ask(client, "mcp", bearer(key["api_key"])))["scope"] == "read write"


async def test_nothing_prepared_outlives_its_signing_key(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another key signs, what was prepared is made anew: the old one may have been deleted because it leaked."""
    good = bearer(client.keys["good"])
    before = await ask(client, "mcp", good)
    assert (await ask(client, "mcp", good)) == before
    monkeypatch.setattr(LocalTokenIssuer, "maker", lambda _self, audience: f"another key for {audience}")
    assert (await ask(client, "mcp", good)).header("authorization") != before.header("authorization")


async def test_what_is_prepared_is_bounded(prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest answer goes when there is room for no more, and costs a signature, not a refusal."""
    monkeypatch.setattr(gates_module, "MOST_PREPARED", 2)
    async with gated(prepared, tmp_path) as client:
        good = bearer(client.keys["good"])
        asked = [(await ask(client, gate, good)).header("authorization") for gate in ("mcp", "kept", "renamed", "mcp")]
        assert len(set(asked)) == 4
        assert (await ask(client, "mcp", good)).header("authorization") == asked[-1]


async def test_unknown_gates_are_not_found(client: Client) -> None:
    """404 in JSON, whatever is presented; a name in capitals or with an escape is another one."""
    for gate in ("orders", "MCP", "mcp.", "mc%70", "", "mcp%2f"):
        answer = await ask(client, gate, bearer(client.keys["good"]))
        assert (answer.status, answer.json()) == (404, {"error": "not_found"})


pieces = st.sampled_from(["/", "orders", "order", "s", ".", "..", "%2f", "%2e", "\\", "?", "%", "sts", "gate", "a"])


@given(rest=st.lists(pieces, max_size=8).map("".join) | st.text(st.characters(codec="latin-1"), max_size=8))
async def test_a_gate_is_found_by_its_whole_name_alone(rest: str) -> None:
    """Whatever the path: the whole name, then its end or a slash, opens a gate; the rest goes on untouched."""
    seen: list[bytes] = []
    sent: list[Any] = []

    async def door(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope["raw_path"])

    async def send(message: Any) -> None:  # noqa: ANN401 - ASGI's
        sent.append(message)

    raw = f"/sts/gate/{rest}".encode("latin-1")
    scope = {"method": "GET", "path": raw.decode("latin-1"), "raw_path": raw}
    await Gates("/sts", {b"orders": door})(scope, None, send)  # type: ignore[arg-type]  # no body is read
    path = rest.partition("?")[0]
    is_named = path == "orders" or path.startswith("orders/")
    assert bool(seen) is (is_named and sent == [])
    if seen:
        assert seen == [b"/sts/verify" + path.removeprefix("orders").encode("latin-1")]
        assert not {".", ".."} & set(path.replace("%2e", ".").split("/"))
        assert "%2f" not in path
        assert "\\" not in path
    else:
        assert sent[0]["status"] == (403 if is_named else 404)
