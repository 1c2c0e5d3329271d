"""What Kong, APISIX, phantom-token modules and AWS rely on, each as its page in `service/gateways/` says."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest
import yaml

from keystile.claims import MAX_JWT
from keystile.gates import read_gates
from unit.gated import PROXY, ask, gated
from unit.managing import issue
from unit.served import FORM, MCP, basic, bearer, key_id, serving
from unit.test_verify_door import IDENTITY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from unit.served import Answered, Client, Prepared

PAGES = Path(__file__).parents[2] / "service" / "gateways"
COPIED = {name.lower() for name in ("Authorization", *IDENTITY)}


def blocks(page: str, language: str) -> list[str]:
    """Return the blocks of that language on a page."""
    text = (PAGES / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
async def client(prepared: Prepared, tmp_path: Path) -> AsyncIterator[Client]:
    async with gated(prepared, tmp_path, failures_per_minute=3) as opened:
        yield opened


@pytest.mark.parametrize("page", ["kong.md", "apisix.md"])
def test_the_gate_on_the_page_is_one(page: str) -> None:
    """The TOML can be taken as it stands."""
    gates, faults = read_gates(blocks(page, "toml")[0])
    assert (list(gates), faults) == (["orders"], [])


def test_kong_copies_every_header_a_gate_writes() -> None:
    """One left out would let the client's own through to the upstream; and what a refusal says reaches the client."""
    (document,) = map(yaml.safe_load, blocks("kong.md", "yaml"))
    (code,) = document["services"][0]["plugins"][0]["config"]["access"]
    mine = re.search(r"local mine = \{(.*?)\}", code, re.DOTALL)
    assert mine
    assert set(re.findall(r'"(.*?)"', mine[1])) == COPIED
    for name in ("WWW-Authenticate", "Retry-After", "RateLimit", "X-Forwarded-Method", "X-Forwarded-Uri", "X-API-Key"):
        assert f'"{name}"' in code


def test_apisix_copies_every_header_a_gate_writes() -> None:
    """The same; and nobody is let through while Keystile is away."""
    (document,) = map(yaml.safe_load, blocks("apisix.md", "yaml"))
    plugins = document["routes"][0]["plugins"]
    plugin = plugins["forward-auth"]
    assert {name.lower() for name in plugin["upstream_headers"]} == COPIED
    assert {"WWW-Authenticate", "Retry-After"} <= set(plugin["client_headers"])
    assert (plugin["allow_degradation"], plugin["status_on_error"]) == (False, 503)
    assert plugins["proxy-rewrite"]["headers"]["remove"] == ["X-API-Key"]


def forwarded(uri: str = "/v1/models?x=1") -> list[tuple[str, str]]:
    """Return what both write of the client's request."""
    return [
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "orders.example.com"),
        ("X-Forwarded-Method", "POST"),
        ("X-Forwarded-Uri", uri),
    ]


async def test_forward_auth_answers(client: Client) -> None:
    """200 with every header, none empty; else 300 or more, with what the client needs and nothing to copy."""
    good = await client.send("GET", "/sts/gate/mcp", [bearer(client.keys["good"]), *forwarded()], peer=PROXY)
    assert good.status == 200
    assert all(good.header(name) for name in COPIED)
    refused = [
        (await ask(client, "mcp", bearer(client.keys["revoked"])), 401, "www-authenticate"),
        (await ask(client, "mcp"), 401, "www-authenticate"),
        (await ask(client, "admins", bearer(client.keys["good"])), 403, "www-authenticate"),
        (await ask(client, "mcp", bearer(client.keys["good"]), bearer(client.keys["good"])), 400, "content-type"),
    ]
    limited = [await ask(client, "mcp", bearer(client.keys["limited"])) for _ in range(2)]
    refused.append((limited[1], 429, "retry-after"))
    for answer, status, needed in refused:
        assert answer.status == status
        assert answer.header(needed)
        assert not [name for name, _ in answer.headers if name in COPIED]


async def test_forward_auth_tells_the_endpoint(client: Client) -> None:
    """Method and path of the client's request are what a key bound to endpoints is judged by."""
    key = bearer((await issue(client, audiences=[MCP], allowed_endpoints=["POST /v1/*"]))["api_key"])
    for uri, status in (("/v1/models?x=1", 200), ("/v2/models", 401)):
        answer = await client.send("GET", "/sts/gate/mcp", [key, *forwarded(uri)], peer=PROXY)
        assert answer.status == status


async def phantom(client: Client, token: str, *, secret: str = "", accept: str = "application/jwt") -> Answered:
    """Ask as the modules do."""
    server = client.keys["server"]
    headers = [FORM, basic(key_id(server), secret or server), ("Accept", accept)]
    return await client.send("POST", "/sts/introspect", headers, [f"token={token}".encode()])


async def test_phantom_token_of_a_key_and_of_a_jwt(client: Client) -> None:
    """200, the bare JWT for the gateway's audience, exactly as long as it says, and for how long it may be kept."""
    token = await client.jwt(resource=MCP)
    for presented in (client.keys["good"], token):
        answer = await phantom(client, presented)
        assert (answer.status, answer.header("content-type")) == (200, "application/jwt")
        assert int(answer.header("content-length") or 0) == len(answer.body) <= MAX_JWT
        claims = jwt.decode(answer.body, options={"verify_signature": False})
        assert (claims["aud"], set(claims["scope"].split())) == (MCP, {"read", "write"})
        kept = re.search(r"max.*?age=(\d+)", answer.header("cache-control") or "")  # as the Lua modules look for it
        assert kept
        assert 0 < int(kept[1]) <= 30


async def test_phantom_token_of_what_is_not_active(client: Client) -> None:
    """204, empty, for what is not good, and for a key whose request nobody here can judge."""
    for presented in (client.keys["revoked"], client.keys["bound"], "x"):
        answer = await phantom(client, presented)
        assert (answer.status, answer.body, answer.header("content-length")) == (204, b"", None)
    other = client.keys["another_server"]
    assert (await phantom(client, client.keys["good"], secret=other)).status == 401
    for number in range(3):
        await phantom(client, f"guess-{number}")
    assert (await phantom(client, "another guess")).status == 429


def test_phantom_token_buffers_hold_the_largest_jwt() -> None:
    """The module for nginx reads the JWT from one buffer, headers included; and no key is written into a cache."""
    (config,) = blocks("phantom-token.md", "nginx")
    size = re.search(r"proxy_buffer_size (\d+)k", config)
    assert size
    assert int(size[1]) * 1024 >= 2 * MAX_JWT
    assert "proxy_cache" not in config
    (lua,) = map(yaml.safe_load, blocks("phantom-token.md", "yaml"))
    assert lua["token_cache_seconds"] <= 30


async def test_aws_finds_the_keys_and_reads_the_claims(prepared: Prepared, tmp_path: Path) -> None:
    """Discovery below the issuer, RS256 by a `kid` of the key set, one audience, scopes in words."""
    issuer = "https://id.example.com/sts"
    rsa = {"signing_alg": "RS256", "signing_keys_dir": tmp_path / "rsa"}
    async with serving(prepared, tmp_path, issuer=issuer, **rsa) as client:
        document = (await client.send("GET", "/sts/.well-known/openid-configuration")).json()
        assert (document["issuer"], document["jwks_uri"]) == (issuer, f"{issuer}/jwks.json")
        keys = (await client.send("GET", "/sts/jwks.json")).json()["keys"]
        token = await client.jwt(resource=MCP)
        assert document["token_endpoint"] == f"{issuer}/token"
    header, claims = jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})
    (key,) = [key for key in keys if key["kid"] == header["kid"]]
    assert (header["alg"], key["kty"], key["use"], key["alg"]) == ("RS256", "RSA", "sig", "RS256")
    jwt.decode(token, jwt.PyJWK(key), ["RS256"], audience=MCP, issuer=issuer)
    assert (claims["iss"], claims["aud"], claims["scope"]) == (issuer, MCP, "read write")
    assert claims["iat"] <= time.time() < claims["exp"]
    assert claims.get("nbf", 0) <= time.time()


def test_the_aws_page_names_what_the_settings_allow(load: Any, tmp_path: Path) -> None:  # noqa: ANN401 - a fixture
    """Its settings start a deployment, whose issuer is the one given to AWS."""
    export, command = blocks("aws.md", "sh")
    variables = dict(pair.removeprefix("KEYSTILE_").split("=") for pair in re.findall(r"KEYSTILE_\w+=\S+", export)[:2])
    settings = load(DATA_DIR=str(tmp_path), **variables)
    assert f"Issuer={settings.issuer}," in command
    assert settings.signing_alg == "RS256"
