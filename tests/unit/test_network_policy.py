"""Keys with a policy on requests, at the doors: judged at each request, by a trusted proxy's word alone."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import TYPE_CHECKING

import pytest

from keystile.authority.lifecycle import KeyRequest
from keystile.restrictions import Policy
from keystile.wiring import open_deployment
from unit.served import MCP, Answered, Client, Prepared, bearer, serving, settings_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PROXY = "10.0.0.1"
AT = "203.0.113.9"
POLICIES = {
    "address": Policy(allowed_ips=("203.0.113.0/24",)),
    "tls": Policy(require_tls=True),
    "origin": Policy(allowed_origins=("*.example.com",)),
    "endpoint": Policy(audiences=(MCP,), allowed_endpoints=("GET /v1/*",), blocked_endpoints=("* /v1/secret",)),
}
GOOD = {
    "X-Forwarded-For": AT,
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Method": "GET",
    "X-Forwarded-Uri": "/v1/models?limit=1",
    "Origin": "https://app.example.com",
}
BAD = {
    "address": ({"X-Forwarded-For": "198.51.100.1"}, "address_denied"),
    "tls": ({"X-Forwarded-Proto": "http"}, "tls_required"),
    "origin": ({"Origin": "https://example.org"}, "origin_denied"),
    "endpoint": ({"X-Forwarded-Uri": "/v1/SECRET"}, "endpoint_denied"),
}
NEEDED = {
    "address": ["X-Forwarded-For"],
    "tls": ["X-Forwarded-Proto"],
    "origin": ["Origin"],
    "endpoint": ["X-Forwarded-Method", "X-Forwarded-Uri"],
}
every_policy = pytest.mark.parametrize("policy", POLICIES)
CHECKED_BY_CLIENT = [name for name in POLICIES if name != "endpoint"]


@pytest.fixture(scope="module")
def restricted(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Add a key of each policy to a copy of the prepared store."""
    folder = tmp_path_factory.mktemp("restricted")
    shutil.copytree(prepared.folder, folder, dirs_exist_ok=True)
    return Prepared(folder, {**prepared.keys, **asyncio.run(issue(folder))})


async def issue(folder: Path) -> dict[str, str]:
    keys = {}
    async with open_deployment(settings_in(folder)) as deployment:
        for name, policy in POLICIES.items():
            request = KeyRequest(owner=f"owner of {name}", name=name, issued_by="test", policy=policy)
            keys[name] = (await deployment.lifecycle.issue(request)).key.reveal()
    return keys


@pytest.fixture
async def gateway(restricted: Prepared, tmp_path: Path) -> AsyncIterator[Client]:
    """Serve behind a trusted proxy at 10.0.0.1."""
    async with serving(restricted, tmp_path, trusted_proxies=("10.0.0.0/8",)) as opened:
        yield opened


async def ask(
    client: Client, text: str, said: dict[str, str], peer: str = PROXY, path: str = "/sts/verify"
) -> Answered:
    return await client.send("GET", path, [bearer(text), *said.items()], peer=peer)


async def exchange(client: Client, policy: str, said: dict[str, str], peer: str = PROXY, **form: str) -> Answered:
    body = "&".join(["grant_type=client_credentials", *(f"{name}={value}" for name, value in form.items())])
    headers = [("Content-Type", "application/x-www-form-urlencoded"), bearer(client.keys[policy]), *said.items()]
    return await client.send("POST", "/sts/token", headers, [body.encode()], peer=peer)


def reasons(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    return [line["reason"] for line in lines if line.get("outcome") == "refused"]


@every_policy
async def test_prepared_answer_is_never_given_to_a_different_request(
    gateway: Client, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key that was just let through, its answer prepared, is refused the next request that its policy forbids."""
    bad, reason = BAD[policy]
    for _ in range(3):
        assert (await ask(gateway, gateway.keys[policy], GOOD)).status == 200
        assert (await ask(gateway, gateway.keys[policy], {**GOOD, **bad})).status == 401
    assert reasons(capsys) == [reason] * 3


@every_policy
async def test_allowed_requests_share_one_jwt(gateway: Client, policy: str) -> None:
    """Judging each request costs no signature."""
    answers = [await ask(gateway, gateway.keys[policy], GOOD) for _ in range(3)]
    assert len({answer.header("authorization") for answer in answers}) == 1


@every_policy
async def test_missing_fact_refuses(gateway: Client, policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What the proxy did not say is not guessed, and neither its own address nor method or path stand in for it."""
    for name in NEEDED[policy]:
        left = {header: value for header, value in GOOD.items() if header != name}
        assert (await ask(gateway, gateway.keys[policy], left, path="/sts/verify/v1/models")).status == 401
    assert set(reasons(capsys)) == {"policy_unverifiable"}


@every_policy
async def test_stranger_cannot_vouch_for_itself(
    gateway: Client, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same headers from a peer that is no trusted proxy are nobody's word, even from an allowed address."""
    assert (await ask(gateway, gateway.keys[policy], GOOD, peer=AT)).status == 401
    assert reasons(capsys) == ["policy_unverifiable"]


@every_policy
async def test_without_trusted_proxies_nothing_can_be_verified(
    restricted: Prepared, tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a deployment that trusts no proxy, such keys are refused; others are not."""
    async with serving(restricted, tmp_path) as alone:
        assert (await ask(alone, alone.keys[policy], GOOD)).status == 401
        assert reasons(capsys) == ["policy_unverifiable"]
        assert (await ask(alone, alone.keys["good"], {})).status == 200


@every_policy
async def test_refusal_looks_like_any_other(gateway: Client, policy: str) -> None:
    """Outside, nobody learns that a policy refused, and which."""
    key, bad = gateway.keys[policy], BAD[policy][0]
    denied = await ask(gateway, key, {**GOOD, **bad})
    unverifiable = await ask(gateway, key, {})
    assert denied == unverifiable == await ask(gateway, gateway.keys["revoked"], GOOD)


@pytest.mark.parametrize("policy", CHECKED_BY_CLIENT)
async def test_token_door_judges_its_own_request(
    gateway: Client, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Address, TLS and origin are those of the request for the token; a refusal is that of a wrong key."""
    bad, reason = BAD[policy]
    assert (await exchange(gateway, policy, GOOD)).status == 200
    denied = await exchange(gateway, policy, {**GOOD, **bad})
    unverifiable = await exchange(gateway, policy, {})
    assert denied == unverifiable == await exchange(gateway, "revoked", GOOD)
    assert reasons(capsys) == [reason, "policy_unverifiable", "revoked"]


@pytest.mark.parametrize("form", [{}, {"resource": MCP}, {"scope": "read"}], ids=str)
async def test_key_with_endpoints_gets_no_jwt_to_take_away(
    gateway: Client, form: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A JWT in the client's hand could be used anywhere: there is none at the token and validation doors."""
    answer = await exchange(gateway, "endpoint", GOOD, **form)
    assert (answer.status, answer.json()["error"]) == (400, "invalid_target")
    headers = [("X-API-Key", gateway.keys["endpoint"]), *GOOD.items()]
    answer = await gateway.send("POST", "/api/v1/api-keys/validate", headers, peer=PROXY)
    assert (answer.status, answer.json()["error"]) == (400, "invalid_target")
    assert reasons(capsys) == ["gateway_only"] * 2


@pytest.mark.parametrize("policy", CHECKED_BY_CLIENT)
async def test_validation_door_judges_its_own_request(gateway: Client, policy: str) -> None:
    """The older door is no way round a policy."""
    for said, status in ((GOOD, 200), ({**GOOD, **BAD[policy][0]}, 401), ({}, 401)):
        headers = [("X-API-Key", gateway.keys[policy]), *said.items()]
        assert (await gateway.send("POST", "/api/v1/api-keys/validate", headers, peer=PROXY)).status == status


@every_policy
async def test_jwt_is_judged_by_the_policy_of_its_key(
    gateway: Client, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A JWT of a restricted key is passed on only in requests that the key itself may make."""
    token = (await ask(gateway, gateway.keys[policy], GOOD)).header("authorization") or ""
    jwt = token.removeprefix("Bearer ")
    assert (await ask(gateway, jwt, GOOD)).header("authorization") == token
    assert (await ask(gateway, jwt, {**GOOD, **BAD[policy][0]})).status == 401
    assert (await ask(gateway, jwt, {})).status == 401
    assert (await ask(gateway, jwt, GOOD, peer=AT)).status == 401
    assert reasons(capsys) == [BAD[policy][1], "policy_unverifiable", "policy_unverifiable"]


@pytest.mark.parametrize(
    ("convention", "said", "path"),
    [
        ("x-original", {"X-Original-Method": "GET", "X-Original-URI": "/v1/models"}, "/sts/verify"),
        ("path", {}, "/sts/verify/v1/models"),
    ],
)
async def test_proxy_may_speak_another_way(
    restricted: Prepared, tmp_path: Path, convention: str, said: dict[str, str], path: str
) -> None:
    """A setting names how the proxy tells method and path, and then nothing else does."""
    settings = {"trusted_proxies": ("10.0.0.0/8",), "forwarded_headers": convention}
    async with serving(restricted, tmp_path, **settings) as told:
        assert (await ask(told, told.keys["endpoint"], said, path=path)).status == 200
        assert (await ask(told, told.keys["endpoint"], {**GOOD, **said}, path=path)).status == 200
        assert (await ask(told, told.keys["endpoint"], GOOD)).status == 401


@pytest.mark.parametrize("said", [{}, GOOD, dict.fromkeys(GOOD, "nonsense")], ids=["none", "good", "nonsense"])
@pytest.mark.parametrize("peer", [PROXY, AT])
async def test_key_without_such_a_policy_is_asked_nothing(gateway: Client, said: dict[str, str], peer: str) -> None:
    """Whatever is said of the request, and by whom, a key that restricts none of it is good."""
    for _ in range(2):
        assert (await ask(gateway, gateway.keys["good"], said, peer=peer)).status == 200
    assert (await exchange(gateway, "good", said, peer=peer)).status == 200
