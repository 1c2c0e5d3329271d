"""Clients and the example MCP server: the official SDK unchanged, `KeystileAuth`, and the command line."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from typing import TYPE_CHECKING, Any, Literal

import httpx
import httpx2
import jwt
import pytest
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.shared.exceptions import MCPError

from keystile.cli.main import run
from keystile.client import ExchangeRefusedError, KeystileAuth
from keystile.mcp.example import SCOPE
from stack.processes import wait_until
from stories.mcp_world import ANOTHER, McpWorld, call, knock, mcp_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mcp.client.auth import OAuthClientProvider
    from mcp.shared.auth import OAuthClientInformationFull, OAuthToken


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[McpWorld]:
    with mcp_world(tmp_path_factory.mktemp("mcp")) as opened:
        yield opened


class Memory:
    """A token storage, as the SDK wants one."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        """Return what was kept."""
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keep it."""
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """Return nothing: the client knows its id."""
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Fail."""
        raise AssertionError(f"nobody registers {client_info.client_id} here")


Method = Literal["client_secret_basic", "client_secret_post"]


def provider(world: McpWorld, key: dict[str, Any], method: Method = "client_secret_basic") -> OAuthClientProvider:
    return ClientCredentialsOAuthProvider(
        server_url=world.mcp.url,
        storage=Memory(),
        client_id=key["key_id"],
        client_secret=key["api_key"],
        token_endpoint_auth_method=method,
        scope=SCOPE,
        issuer=world.keystile.issuer,
    )


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_the_sdk_calls_a_tool_with_a_key(world: McpWorld, method: Method) -> None:
    """From 401 over the metadata of both servers to a JWT for exactly that resource, and a tool that says who calls."""
    key = world.issue()
    said = await call(world.mcp.url, "whoami", auth=provider(world, key, method))
    assert (said["key_id"], said["scopes"], said["actor"]) == (key["key_id"], [SCOPE], None)


async def test_the_sdk_calls_a_tool_with_a_signature(world: McpWorld, tmp_path: Path) -> None:
    """STANDARDS, private_key_jwt: the SDK signs for the issuer alone, and no secret is kept anywhere."""
    private, public = tmp_path / "agent.pem", tmp_path / "agent.jwk"
    public.write_text(world.keystile.cli("keypair", "new", "--private-key", str(private)).stdout)
    allowed = ("--scope", SCOPE, "--audience", world.mcp.url, "--json")
    kept = world.keystile.cli(
        "keys", "register", "--owner", "carol", "--name", "agent", "--public-key", str(public), *allowed
    )
    assert kept.returncode == 0, kept.stderr
    key_id = json.loads(kept.stdout)["key_id"]
    signing = SignedJWTParameters(
        issuer=key_id, subject=key_id, signing_key=private.read_text(), signing_algorithm="EdDSA"
    )
    auth = PrivateKeyJWTOAuthProvider(
        server_url=world.mcp.url,
        storage=Memory(),
        client_id=key_id,
        assertion_provider=signing.create_assertion_provider(),
        scope=SCOPE,
        issuer=world.keystile.issuer,
    )
    assert await call(world.mcp.url, "add", {"a": 19, "b": 23}, auth=auth) == {"result": 42}


def test_a_jwt_for_another_server_is_worth_nothing(world: McpWorld) -> None:
    """The JWT that the same key gets for another audience is refused, and the answer leads to the issuer."""
    key = world.issue()
    assert knock(world.mcp.url, world.jwt(key)).status_code == 200
    answer = knock(world.mcp.url, world.jwt(key, ANOTHER))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    (metadata,) = [each for each in answer.headers["www-authenticate"].split('"') if each.startswith("http")]
    told = httpx2.get(metadata).json()
    assert (told["resource"], told["authorization_servers"]) == (world.mcp.url, [world.keystile.issuer])
    assert told["scopes_supported"] == [SCOPE]


def test_a_jwt_without_the_scope_calls_no_tool(world: McpWorld) -> None:
    """403, and the scope that is missing, though the key might have it."""
    answer = knock(world.mcp.url, world.jwt(world.issue(), scope="read"))
    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")


async def test_a_revoked_key_calls_no_tool(world: McpWorld) -> None:
    """A JWT that would live for minutes is refused soon after its key was revoked, and the SDK gets no other."""
    key = world.issue()
    token = world.jwt(key)
    assert knock(world.mcp.url, token).status_code == 200
    world.keystile.revoke(key["key_id"])
    # Two seconds are promised; what is shown is that it does not take the JWT's 300.
    assert wait_until(lambda: knock(world.mcp.url, token).status_code == 401, 60)
    with pytest.raises((MCPError, ExceptionGroup)):
        await call(world.mcp.url, "whoami", auth=provider(world, key))
    with pytest.raises((ExchangeRefusedError, ExceptionGroup)) as refused:
        await call(world.mcp.url, "whoami", auth=auth_for(world, key))
    assert key["api_key"] not in repr(refused.getrepr(chain=True))


def auth_for(world: McpWorld, key: dict[str, Any]) -> KeystileAuth:
    return KeystileAuth(world.keystile.issuer, world.mcp.url, scope=SCOPE, api_key=key["api_key"])


async def test_keystile_auth_serves_the_sdk(world: McpWorld) -> None:
    """The SDK's client over httpx2, with nothing but the key: no metadata is looked for."""
    key = world.issue()
    said = await call(world.mcp.url, "whoami", auth=auth_for(world, key))
    assert (said["key_id"], said["scopes"]) == (key["key_id"], [SCOPE])


def test_keystile_auth_serves_httpx_and_outlives_its_jwt(world: McpWorld) -> None:
    """Sync and async, over one JWT; when that is revoked by itself, the next request goes on with another."""
    key = world.issue()
    auth = auth_for(world, key)
    used: list[str] = []
    asked: dict[str, Any] = {
        "json": {"jsonrpc": "2.0", "id": 1, "method": "ping"},
        "headers": {"Accept": "application/json"},
    }

    def is_let_in(answer: httpx.Response) -> bool:
        used.append(answer.request.headers["Authorization"].removeprefix("Bearer "))
        return answer.status_code != 401

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(auth=auth) as http:
            return await http.post(world.mcp.url, **asked)

    with httpx.Client(auth=auth) as http:
        assert is_let_in(http.post(world.mcp.url, **asked))
        own = {"Authorization": f"Bearer {key['api_key']}"}
        revoked = httpx.post(f"{world.keystile.issuer}/revoke", data={"token": used[0]}, headers=own)
        assert revoked.status_code == 200
        assert wait_until(lambda: is_let_in(http.post(world.mcp.url, **asked)) and used[-1] != used[0], 60)
    assert is_let_in(asyncio.run(ask()))
    assert len(set(used)) == 2


def test_the_command_line_gives_a_jwt(world: McpWorld, tmp_path: Path) -> None:
    """`keystile token`: the key from standard input, the environment or a file; a JWT, or the whole answer."""
    key = world.issue()
    asked = ("token", "--resource", world.mcp.url, "--scope", SCOPE, "--url", world.keystile.issuer)
    (tmp_path / "key").write_text(key["api_key"] + "\n")
    told = [
        world.keystile.cli(*asked, stdin=key["api_key"]),
        world.keystile.cli(*asked, KEYSTILE_API_KEY=key["api_key"]),
        world.keystile.cli(*asked, "--key-file", str(tmp_path / "key"), KEYSTILE_API_KEY="another"),
    ]
    for done in told:
        assert (done.returncode, done.stderr) == (0, "")
        assert knock(world.mcp.url, done.stdout.strip()).status_code == 200
    document = json.loads(world.keystile.cli(*asked, "--json", stdin=key["api_key"]).stdout)
    assert (document["token_type"], document["expires_in"]) == ("Bearer", 300)
    assert jwt.decode(document["access_token"], options={"verify_signature": False})["scope"] == SCOPE


async def test_the_command_line_gives_headers(world: McpWorld) -> None:
    """`keystile headers` prints one JSON object, which opens the server; the issuer is that of the settings."""
    key = world.issue()
    done = world.keystile.cli("headers", "--resource", world.mcp.url, stdin=key["api_key"])
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 1)
    said = await call(world.mcp.url, "whoami", headers=json.loads(done.stdout))
    assert (said["key_id"], sorted(said["scopes"])) == (key["key_id"], ["read", SCOPE])


def test_the_command_line_says_why_not_in_one_line(
    world: McpWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing on standard output, one line on the other, never the key; 1 for what went wrong, 2 for bad usage."""
    key = world.issue()["api_key"]
    monkeypatch.setenv("KEYSTILE_PORT", world.keystile.environment["KEYSTILE_PORT"])

    def told(*words: str, typed: str = key) -> tuple[int, str, list[str]]:
        monkeypatch.setattr(sys, "argv", ["keystile", "headers", *words])
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as ended:
            run()
        said = capfd.readouterr()
        assert key not in said.err
        return int(ended.value.code or 0), said.out, said.err.splitlines()

    fine = ("--resource", world.mcp.url)
    refused = {
        "invalid_target": told("--resource", "https://x.example.com"),
        "invalid_scope": told(*fine, "--scope", "write"),
        "401 invalid_client": told(*fine, typed=key[:-6] + "AAAAAA"),
        "is no API key": told(*fine, typed=f"it is {key}"),
        "no API key on standard input": told(*fine, typed=""),
        "is plain http": told(*fine, "--url", "http://id.example.com/sts"),
        "does not answer": told(*fine, "--issuer", "http://127.0.0.1:9/sts"),
        "answers 404": told(*fine, "--issuer", f"{world.keystile.server.url}/none"),
        "No such file": told(*fine, "--key-file", str(tmp_path / "none")),
    }
    for why, (status, out, (line, *more)) in refused.items():
        assert (status, out, more, why in line) == (1, "", [], True), line
    assert told()[:2] == (2, "")
