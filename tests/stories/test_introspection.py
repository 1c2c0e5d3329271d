"""Introspection and revocation by a real OAuth client (authlib), on both stores, over two servers."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from authlib.integrations.requests_client import OAuth2Session  # type: ignore[import-untyped]  # it has no stubs

from stack import KeystileServer
from stack.keystile_server import keystile_command
from stack.processes import soon
from stories.demo import running_demo
from stories.world import plain_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stories.world import World

_README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
MCP = "https://mcp.example.com/mcp"


@pytest.fixture(params=["embedded", "world"])
def deployment(request: pytest.FixtureRequest) -> World:
    """Return a deployment on each store."""
    deployed: World = request.getfixturevalue(request.param)
    return deployed


def owner_in(deployment: World) -> str:
    """Return an owner of that deployment."""
    add_user = getattr(deployment, "add_user", None)
    return "alice" if add_user is None else str(add_user())


def client_of(key: Mapping[str, str]) -> OAuth2Session:
    """Return an OAuth client that authenticates by that key, as Basic."""
    return OAuth2Session(key["key_id"], key["api_key"], token_endpoint_auth_method="client_secret_basic")


def test_revoked_jwt_is_inactive_in_every_process(deployment: World) -> None:
    """RFC 7009: revoked at one server, within a second a JWT is inactive at both, and its neighbours are not."""
    owner = owner_in(deployment)
    key = deployment.issue(owner, "laptop", "--scope", "read", "--audience", MCP)
    server = deployment.issue(owner, "server", "--scope", "introspect", "--audience", MCP)
    with KeystileServer(
        deployment.environment | {"KEYSTILE_ISSUER": deployment.issuer}, log_path=deployment.folder / "second.log"
    ) as second:
        urls = (deployment.server.url, second.url)
        token, another = (deployment.exchange(key, resource=MCP).json()["access_token"] for _ in range(2))

        def active(presented: str) -> set[bool]:
            answers = [client_of(server).introspect_token(f"{url}/sts/introspect", presented) for url in urls]
            assert {answer.status_code for answer in answers} == {200}
            return {answer.json()["active"] for answer in answers}

        assert active(token) == active(another) == active(key["api_key"]) == {True}
        assert client_of(key).revoke_token(f"{urls[0]}/sts/revoke", token).status_code == 200
        assert soon(lambda: active(token) == {False})
        assert active(another) == active(key["api_key"]) == {True}
        assert client_of(key).revoke_token(f"{urls[1]}/sts/revoke", key["api_key"]).status_code == 200
        assert soon(lambda: active(another) == active(key["api_key"]) == {False})


def test_revoked_jwt_stays_dead_over_a_restart(deployment: World) -> None:
    """A server that was not there when a JWT was revoked refuses it from its first answer on."""
    key = deployment.issue(owner_in(deployment))
    token = deployment.jwt(key)
    assert deployment.verify(token).status_code == 200
    assert client_of(key).revoke_token(f"{deployment.server.url}/sts/revoke", token).status_code == 200
    with KeystileServer(
        deployment.environment | {"KEYSTILE_ISSUER": deployment.issuer}, log_path=deployment.folder / "second.log"
    ) as second:
        assert deployment.verify(token, url=second.url).status_code == 401


def test_gateway_turns_a_key_into_a_jwt(deployment: World) -> None:
    """The phantom token of a key: the bare JWT, good at the gateway's own audience."""
    owner = owner_in(deployment)
    key = deployment.issue(owner, "laptop", "--audience", MCP)
    server = deployment.issue(owner, "server", "--scope", "introspect", "--audience", MCP)
    answer = httpx.post(
        f"{deployment.server.url}/sts/introspect",
        content=f"token={key['api_key']}",
        headers={"Accept": "application/jwt", "Content-Type": "application/x-www-form-urlencoded"},
        auth=(server["key_id"], server["api_key"]),
    )
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/jwt")
    assert answer.headers["content-length"] == str(len(answer.text))
    told = client_of(server).introspect_token(f"{deployment.server.url}/sts/introspect", answer.text).json()
    assert (told["aud"], told["client_id"], told["username"]) == (MCP, key["key_id"], owner)


def test_the_readme_s_lines_are_true(tmp_path: Path) -> None:
    """The README's lines on resource servers, pasted beside a running demo, do what is said under them."""
    (block,) = re.findall(r"```sh\n(field\(\) .*?)```", _README, re.DOTALL)
    with running_demo(tmp_path) as demo:
        pasted = block.replace("http://127.0.0.1:8400", demo.document["url"])
        paths = {"PATH": f"{Path(keystile_command()).parent}:{os.environ['PATH']}", "KEY": demo.document["api_key"]}
        environment = plain_environment() | paths
        done = subprocess.run(  # noqa: S603 - as a person pastes it
            ["sh", "-ec", pasted],  # noqa: S607
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    told, phantom, ended = done.stdout.split("\n")[:3]
    assert json.loads(told)["active"] is True
    assert (phantom.count("."), ended) == (2, "200")
