"""Token exchange at `/sts/token` as a client sees it (RFC 8693)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from unit.managing import ADMIN_KEY, ask, document, issue
from unit.served import FORM, MCP, REFUSED, Answered, basic, bearer, key_id, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from unit.served import Client, Prepared

ISSUER = "http://127.0.0.1:8400/sts"
GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
API_KEY = "urn:keystile:token-type:api-key"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
UNIFORM = {"error": "invalid_request", "error_description": "a token cannot be used for this request"}


@pytest.fixture
async def client(prepared: Prepared, tmp_path: Path) -> AsyncIterator[Client]:
    """Serve with a management API, by which tests issue the keys they need."""
    async with serving(prepared, tmp_path, admin_key=ADMIN_KEY, failures_per_minute=1_000) as opened:
        yield opened


async def exchange(client: Client, subject: str, *headers: tuple[str, str], **form: str) -> Answered:
    """Exchange a key, or by its type another token."""
    fields = {"subject_token": subject, "subject_token_type": API_KEY, **form}
    return await client.token(*headers, grant_type=GRANT, **{name: text for name, text in fields.items() if text})


def acting(text: str, kind: str = API_KEY) -> dict[str, str]:
    return {"actor_token": text, "actor_token_type": kind}


def claims_of(answer: Answered) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    claims: dict[str, Any] = jwt.decode(answer.json()["access_token"], options={"verify_signature": False})
    return claims


def error_of(answer: Answered) -> str:
    assert answer.status == 400, (answer.status, answer.body)
    assert (answer.header("cache-control"), answer.header("content-type")) == ("no-store", "application/json")
    return str(answer.json()["error"])


async def test_a_key_is_exchanged_for_a_jwt(client: Client) -> None:
    """RFC 8693, 2.2.1: `access_token`, `issued_token_type` and `token_type` always, and never a refresh token."""
    good = client.keys["good"]
    answer = await exchange(client, good, resource=MCP)
    claims = claims_of(answer)
    said = answer.json()
    assert set(said) == {"access_token", "issued_token_type", "token_type", "expires_in", "scope"}
    assert (said["issued_token_type"], said["token_type"]) == (ACCESS_TOKEN, "Bearer")
    assert type(said["expires_in"]) is int
    assert claims["exp"] - claims["iat"] == said["expires_in"] <= 300
    assert (claims["aud"], claims["client_id"], said["scope"]) == (MCP, key_id(good), "read write")
    assert (answer.header("cache-control"), answer.header("pragma")) == ("no-store", "no-cache")


@pytest.mark.parametrize("form", ["none", "basic", "body", "bearer", "x-api-key"])
async def test_the_client_is_checked_where_it_says_who_it_is(client: Client, form: str) -> None:
    """RFC 8693, 2.1: client authentication is optional; `client_id` in the JWT is the subject key's id."""
    good, other = client.keys["good"], client.keys["other"]
    headers = {
        "basic": [basic(key_id(other), other)],
        "bearer": [bearer(other)],
        "x-api-key": [("X-API-Key", other)],
    }.get(form, [])
    fields = {"client_id": key_id(other), "client_secret": other} if form == "body" else {}
    claims = claims_of(await exchange(client, good, *headers, **fields))
    assert claims["client_id"] == key_id(good)
    assert "act" not in claims


@pytest.mark.parametrize("state", REFUSED)
async def test_a_client_that_is_not_what_it_says_is_refused(client: Client, state: str) -> None:
    """A bad credential beside a good subject token is 401 `invalid_client` with a challenge (RFC 6749, 5.2)."""
    good, bad = client.keys["good"], client.keys[state]
    wrong = key_id(good)
    for headers in ([basic(key_id(bad), bad)], [basic("nobody", good)], [basic(wrong, client.keys["other"])]):
        answer = await exchange(client, good, *headers)
        assert (answer.status, answer.json()) == (401, {"error": "invalid_client"})
        assert (answer.header("www-authenticate") or "").startswith("Basic")


async def test_two_ways_of_authenticating_are_one_too_many(client: Client) -> None:
    """RFC 6749, 2.3: a client uses one method in each request, here too."""
    good, other = client.keys["good"], client.keys["other"]
    assert error_of(await exchange(client, good, basic(key_id(other), other), client_secret=other)) == "invalid_request"
    assert error_of(await exchange(client, good, bearer(other), ("X-API-Key", good))) == "invalid_request"


@pytest.mark.parametrize(
    "fields",
    [
        {"subject_token": ""},
        {"subject_token_type": ""},
        {"subject_token": "", "subject_token_type": ""},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:id_token"},
        {"subject_token_type": "api-key"},
        {"actor_token": "x"},
        {"actor_token_type": API_KEY},
        {"actor_token": "x", "actor_token_type": "urn:ietf:params:oauth:token-type:saml2"},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:jwt"},
        {"requested_token_type": API_KEY},
    ],
    ids=str,
)
async def test_what_cannot_be_exchanged_as_asked_is_an_error(client: Client, fields: dict[str, str]) -> None:
    """RFC 8693, 2.1: tokens come with their types, types are known ones, and no other type than asked is issued."""
    answer = await exchange(client, client.keys["good"], **fields)
    assert error_of(answer) == "invalid_request"
    assert answer.json() != UNIFORM  # whoever asks wrongly is told what is wrong


async def test_an_access_token_may_be_asked_for(client: Client) -> None:
    """The one type there is can be named."""
    answer = await exchange(client, client.keys["good"], requested_token_type=ACCESS_TOKEN)
    assert answer.json()["issued_token_type"] == ACCESS_TOKEN


@pytest.mark.parametrize("kind", [API_KEY, ACCESS_TOKEN])
async def test_every_bad_token_is_the_same_invalid_request(
    client: Client, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """RFC 8693, 2.2.2: whatever is wrong with a subject or actor token, one body; only the audit log knows why."""
    subject = await issue(client, scopes=["read"], may_act=["agent"])
    texts = [client.keys[state] for state in REFUSED] + ["eyJ.x.y", "x" * 9_000, "\xe9", "a b"]
    if kind == ACCESS_TOKEN:
        texts += [client.keys["good"], (await client.token(bearer(client.keys["good"]))).json()["access_token"]]
    answers = [await exchange(client, text, subject_token_type=kind) for text in texts]
    answers += [await exchange(client, subject["api_key"], **acting(text, kind)) for text in texts]
    answers += [await exchange(client, subject["api_key"], **acting(client.keys["good"]))]  # whom nobody lets act
    assert {(answer.status, tuple(answer.headers), answer.body) for answer in answers} == {
        (400, tuple(answers[0].headers), json.dumps(UNIFORM, separators=(",", ":")).encode())
    }
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    audited = {line["reason"] for line in lines if line["outcome"] == "refused"}
    assert audited >= {"actor_denied"} | (set(REFUSED) - {"malformed", "forged"} if kind == API_KEY else set())


async def test_targets_are_bounded_by_the_subject_s_list(client: Client) -> None:
    """RFC 8707 and 8693, 2.1: one audience, absolute, on the key's list; else `invalid_target`."""
    good = client.keys["good"]
    for target in ("https://other.example.com", "relative", "https://mcp.example.com/mcp#fragment", ISSUER):
        assert error_of(await exchange(client, good, resource=target)) == "invalid_target"
        assert error_of(await exchange(client, good, audience=target)) == "invalid_target"
    assert error_of(await exchange(client, good, resource=MCP, audience=f"{MCP}/x")) == "invalid_target"
    assert claims_of(await exchange(client, good, resource=MCP, audience=MCP))["aud"] == MCP
    assert claims_of(await exchange(client, good))["aud"] == f"{ISSUER}/default"


async def test_scope_is_answered_and_bounded(client: Client) -> None:
    """RFC 8693, 2.2.1: `scope` is answered where it differs from what was asked; what is not held is refused."""
    good = client.keys["good"]
    narrowed = await exchange(client, good, scope="write")
    assert claims_of(narrowed)["scope"] == narrowed.json()["scope"] == "write"
    assert error_of(await exchange(client, good, scope="write sell")) == "invalid_scope"
    agent = await issue(client, owner="agent", scopes=["read"])
    subject = await issue(client, scopes=["read", "write"], may_act=[agent["key_id"]])
    answer = await exchange(client, subject["api_key"], **acting(agent["api_key"]))
    assert claims_of(answer)["scope"] == answer.json()["scope"] == "read"
    refused = await exchange(client, subject["api_key"], **acting(agent["api_key"]), scope="write")
    assert error_of(refused) == "invalid_scope"


async def test_credentials_in_the_query_are_refused(client: Client) -> None:
    """A subject or actor token in the URL ends up in logs: it is refused, good as it may be."""
    good = client.keys["good"]
    form = f"grant_type={GRANT}&subject_token={good}&subject_token_type={API_KEY}".encode()
    for name in ("subject_token", "actor_token"):
        answer = await client.send("POST", "/sts/token", [FORM], [form], query=f"{name}={good}")
        assert error_of(answer) == "invalid_request"
        assert good.encode() not in answer.body


async def test_a_gateway_is_told_who_acts(client: Client) -> None:
    """`X-Auth-Actor` is the outermost `act.sub`, the other headers are the subject's."""
    agent = await issue(client, owner="agent", scopes=["read"])
    helper = await issue(client, owner="helper", scopes=["read"])
    subject = await issue(client, scopes=["read"], audiences=[ISSUER], may_act=["agent", "helper"], act_depth=2)
    first = await exchange(client, subject["api_key"], **acting(agent["api_key"]), resource=ISSUER)
    for_us = first.json()["access_token"]
    chain = await exchange(client, for_us, subject_token_type=ACCESS_TOKEN, **acting(helper["api_key"]))
    token, claims = chain.json()["access_token"], claims_of(chain)
    answer = await client.verify(bearer(token))
    assert (answer.status, answer.header("authorization")) == (200, f"Bearer {token}")
    assert answer.header("X-Auth-Actor") == claims["act"]["sub"] == helper["owner_id"]
    assert (answer.header("X-Auth-Subject"), answer.header("X-Auth-Key-Id")) == (claims["sub"], subject["key_id"])
    assert claims["act"]["act"]["sub"] == agent["owner_id"]
    assert len([name for name, _ in answer.headers if name == "x-auth-actor"]) == 1
    assert (await client.verify(bearer(for_us))).status == 401


async def test_a_jwt_for_us_opens_no_other_door(client: Client) -> None:
    """A JWT for the issuer is taken by the exchange alone: not as a key, a client, or a caller of the API."""
    subject = await issue(client, scopes=["keys:read"], audiences=[ISSUER])
    answer = await client.token(bearer(subject["api_key"]), resource=ISSUER)
    token = answer.json()["access_token"]
    assert (await client.verify(bearer(token))).status == 401
    assert (await client.verify(bearer(token), path="/sts/gate/nginx")).status == 401
    assert (await client.token(bearer(token))).status == 401
    assert (await exchange(client, client.keys["good"], bearer(token))).status == 401
    assert (await client.send("POST", "/api/v1/api-keys/validate", [("X-API-Key", token)])).status == 401
    assert (await ask(client, "GET", "/whoami", who=bearer(token))).status == 401
    assert error_of(await exchange(client, token)) == "invalid_request"  # which is not an API key
    assert claims_of(await exchange(client, token, subject_token_type=ACCESS_TOKEN))["client_id"] == subject["key_id"]


async def test_nobody_acts_at_the_management_api(client: Client) -> None:
    """An agent gets no JWT for the API in its owner's name, and none with a scope of it."""
    agent = await issue(client, owner="agent", scopes=["keys:write", "read"])
    subject = await issue(client, scopes=["keys:write", "read"], may_act=[agent["key_id"]])
    api = f"{ISSUER}/api/v1"
    asked = acting(agent["api_key"])
    assert error_of(await exchange(client, subject["api_key"], **asked, resource=api)) == "invalid_target"
    assert error_of(await exchange(client, subject["api_key"], **asked, scope="keys:write")) == "invalid_scope"
    by_itself = await exchange(client, subject["api_key"], resource=api, scope="keys:write")
    assert claims_of(by_itself)["scope"] == "keys:write"


async def test_limits_are_told(client: Client) -> None:
    """An exchange counts against the subject's limits: told in its answer, and 429 when they are spent."""
    subject = await issue(client, scopes=["read"], requests_per_day=1)
    answer = await exchange(client, subject["api_key"])
    assert answer.status == 200
    assert answer.header("ratelimit-policy")
    spent = await exchange(client, subject["api_key"])
    assert (spent.status, spent.json()["error"]) == (429, "rate_limited")
    assert spent.header("retry-after")


async def test_the_metadata_lists_the_grant(client: Client) -> None:
    """RFC 8414: every grant that works is listed, and nothing that does not."""
    listed = (await client.send("GET", "/.well-known/oauth-authorization-server/sts")).json()["grant_types_supported"]
    assert listed == ["client_credentials", GRANT]
    for grant_type in listed:
        assert (await client.token(grant_type=grant_type)).json()["error"] != "unsupported_grant_type"


@pytest.mark.parametrize("field", [{"may_act": ["agent"]}, {"act_depth": 2}])
async def test_an_owner_lets_nobody_act(client: Client, field: dict[str, Any]) -> None:
    """Who may act is an administrator's to say: not an owner's by its own key, when it issues or when it changes."""
    key = await issue(client, scopes=["keys:read", "keys:write"], may_act=["agent"], act_depth=2)
    who = bearer(key["api_key"])
    mine = document(await ask(client, "POST", "/keys", {"name": "x"}, who=who), 201)
    assert "may_act" not in document(await ask(client, "GET", f"/keys/{mine['key_id']}"))
    assert (await ask(client, "POST", "/keys", {"name": "y", **field}, who=who)).status == 403
    assert (await ask(client, "PATCH", f"/keys/{mine['key_id']}", field, who=who)).status == 403
    assert document(await ask(client, "PATCH", f"/keys/{mine['key_id']}", field))


@pytest.mark.parametrize("field", [{"may_act": ["a"] * 21}, {"may_act": [""]}, {"act_depth": 0}, {"act_depth": 5}])
async def test_what_names_nobody_cannot_be_set(client: Client, field: dict[str, Any]) -> None:
    """Lists of actors are bounded, and so is the depth; the field is named."""
    refused = document(await ask(client, "POST", "/keys", {"owner": "alice", "name": "x", **field}), 422)
    assert refused["errors"][0]["field"].startswith(next(iter(field)))
