"""Agents that act for people, by an OAuth client as it is: on both stores, until any key of the chain ends."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from authlib.integrations.base_client import OAuthError  # type: ignore[import-untyped]  # it has no types
from authlib.integrations.requests_client import OAuth2Session  # type: ignore[import-untyped]  # it has no types

from stack import KeystileServer
from stack.keystile_server import keystile_command
from stack.processes import soon
from stories.demo import running_demo
from stories.keycloak_world import KeycloakWorld
from stories.world import plain_environment

if TYPE_CHECKING:
    from stories.world import World

_README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
MCP = "https://mcp.example.com/mcp"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
API_KEY = "urn:keystile:token-type:api-key"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


@pytest.fixture(params=["embedded", "world"])
def deployment(request: pytest.FixtureRequest) -> World:
    """Return a deployment on each store in turn."""
    served: World = request.getfixturevalue(request.param)
    return served


def owner(deployment: World, name: str) -> str:
    return deployment.add_user(name) if isinstance(deployment, KeycloakWorld) else f"{name}-{secrets.token_hex(4)}"


def fetch(deployment: World, client: dict[str, Any], **form: str) -> dict[str, Any]:
    """Get a token as authlib does it, the client authenticated by its key."""
    with OAuth2Session(client["key_id"], client["api_key"]) as session:
        token: dict[str, Any] = session.fetch_token(f"{deployment.server.url}/sts/token", **form)
        return token


def delegated(deployment: World, subject: str, actor: dict[str, Any], **form: str) -> dict[str, Any]:
    """Exchange a subject token for one by which *actor* acts; the actor is the client, too."""
    kind = API_KEY if subject.count(".") == 0 else ACCESS_TOKEN
    return fetch(
        deployment,
        actor,
        grant_type=EXCHANGE,
        subject_token=subject,
        subject_token_type=kind,
        actor_token=actor["api_key"],
        actor_token_type=API_KEY,
        **form,
    )


def claims_of(deployment: World, token: str, audience: str) -> dict[str, Any]:
    """Return the claims as a service reads them, by our public keys."""
    signing = jwt.PyJWKClient(f"{deployment.server.url}/sts/jwks.json").get_signing_key_from_jwt(token)
    claims: dict[str, Any] = jwt.decode(token, signing, ["RS256"], audience=audience, issuer=deployment.issuer)
    return claims


def test_what_the_readme_says_of_agents_is_true(tmp_path: Path) -> None:
    """Its lines, pasted beside a running demo, let an agent act and get its JWT."""
    (field,) = re.findall(r"^field\(\) .*$", _README, re.MULTILINE)
    (block,) = [each for each in re.findall(r"```sh\n(.*?)```", _README, re.DOTALL) if "actor_token" in each]
    with running_demo(tmp_path) as demo:
        paths = {"PATH": f"{Path(keystile_command()).parent}:{os.environ['PATH']}", "KEY": demo.document["api_key"]}
        done = subprocess.run(  # noqa: S603 - as a person pastes it
            ["sh", "-ec", f"{field}\n{block}".replace("http://127.0.0.1:8400", demo.document["url"])],  # noqa: S607
            cwd=tmp_path,
            env=plain_environment() | paths,
            capture_output=True,
            text=True,
            check=True,
        )
    token = json.loads(done.stdout.strip().splitlines()[-1])["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["client_id"] == demo.document["key_id"]
    assert claims["act"]["client_id"] in done.stdout


def test_authlib_gets_tokens_by_both_grants(deployment: World) -> None:
    """Authlib's session takes client_credentials (RFC 6749, 4.4) and token exchange (RFC 8693) as they are."""
    agent = deployment.issue(owner(deployment, "agent"), "agent", "--scope", "read")
    options = ("--scope", "read", "--scope", "write", "--audience", MCP, "--may-act", agent["key_id"])
    key = deployment.issue(owner(deployment, "person"), "laptop", *options)
    token = fetch(deployment, key, grant_type="client_credentials", resource=MCP)
    assert claims_of(deployment, token["access_token"], MCP)["scope"] == token["scope"] == "read write"
    token = delegated(deployment, key["api_key"], agent, resource=MCP)
    assert (token["issued_token_type"], token["scope"]) == (ACCESS_TOKEN, "read")
    claims = claims_of(deployment, token["access_token"], MCP)
    assert (claims["sub"], claims["client_id"]) == (key["owner_id"], key["key_id"])
    assert claims["act"] == {"sub": agent["owner_id"], "client_id": agent["key_id"], "gen": 1}
    with pytest.raises(OAuthError) as refused:  # nobody lets the person act for the agent
        delegated(deployment, agent["api_key"], key)
    assert refused.value.error == "invalid_request"
    with pytest.raises(OAuthError) as refused:
        delegated(deployment, key["api_key"], {**agent, "api_key": agent["api_key"][:-6] + "AAAAAA"})
    assert refused.value.error == "invalid_client"


@pytest.mark.parametrize("ended", ["person", "agent", "helper"])
def test_the_end_of_any_key_of_a_chain_is_obeyed_within_a_second(deployment: World, ended: str) -> None:
    """Revoke the person's key or an agent's: every process refuses the JWT, and it mints no other."""
    agent = deployment.issue(owner(deployment, "agent"), "agent", "--scope", "read")
    helper = deployment.issue(owner(deployment, "helper"), "helper", "--scope", "read")
    options = ("--scope", "read", "--audience", deployment.issuer, "--act-depth", "2")
    acting = ("--may-act", agent["owner"], "--may-act", helper["key_id"])
    person = deployment.issue(owner(deployment, "person"), "laptop", *options, *acting)
    for_us = delegated(deployment, person["api_key"], agent, resource=deployment.issuer)["access_token"]
    token = delegated(deployment, for_us, helper)["access_token"]
    environment = deployment.environment | {"KEYSTILE_ISSUER": deployment.issuer}
    with KeystileServer(environment, log_path=deployment.folder / f"second-{ended}.log") as second:
        urls = (deployment.server.url, second.url)
        answers = [deployment.verify(token, url=url) for url in urls]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert {answer.headers["x-auth-actor"] for answer in answers} == {helper["owner_id"]}
        assert {deployment.verify(for_us, url=url).status_code for url in urls} == {401}
        deployment.revoke({"person": person, "agent": agent, "helper": helper}[ended]["key_id"])
        assert soon(lambda: {deployment.verify(token, url=url).status_code for url in urls} == {401})
        with pytest.raises(OAuthError) as refused:
            delegated(deployment, for_us, helper)
        assert refused.value.error == ("invalid_client" if ended == "helper" else "invalid_request")
    chain = [helper["key_id"], agent["key_id"]]
    lines = [json.loads(line) for line in (deployment.folder / "audit.log").read_text().splitlines()]
    assert [line["event"] for line in lines if line.get("act") == chain and line["key_id"] == person["key_id"]]
    assert any(line["event"] == "delegated" and line["actor"] == f"key:{chain[0]}" for line in lines)
