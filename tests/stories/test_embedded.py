"""The embedded store: from nothing to a JWT, kept over restarts, revoked at once in every process."""

from __future__ import annotations

import json
import re
import socket
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from stack import KeystileServer
from stack.keystile_server import keystile_command
from stack.processes import soon
from stories.demo import running_demo
from stories.world import plain_environment

if TYPE_CHECKING:
    from stories.world import World

_README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_demo_prints_a_key_and_the_curl_that_works(tmp_path: Path) -> None:
    """`keystile demo` prints a curl line that gives a JWT, and writes demo.json for its owner alone."""
    with running_demo(tmp_path) as demo:
        curl = demo.printed[demo.printed.index("curl") :].split("\n\n")[0]
        answer = json.loads(subprocess.run(curl, shell=True, capture_output=True, text=True, check=True).stdout)  # noqa: S602 - as a person pastes it
        assert answer["token_type"] == "Bearer"
        path = tmp_path / ".keystile/demo.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert set(demo.document) == {"url", "issuer", "key_id", "api_key", "owner"}


def test_a_later_start_keeps_the_key(tmp_path: Path) -> None:
    """Started again, the demo has the same key and it still works; Ctrl-C ended the first one cleanly."""
    with running_demo(tmp_path) as first:
        pass
    assert first.process.returncode == 0
    with running_demo(tmp_path) as second:
        assert second.document["api_key"] == first.document["api_key"]
        headers = {"Authorization": f"Bearer {second.document['api_key']}"}
        assert httpx.get(f"{second.document['issuer']}/verify", headers=headers).status_code == 200


def test_the_readme_s_first_screen_is_true(tmp_path: Path) -> None:
    """The README's curl lines, pasted beside a running demo, give the answers printed under them."""
    blocks = re.findall(r"```sh\n(.*?)```", _README, re.DOTALL)
    with running_demo(tmp_path) as demo:
        pasted = blocks[1].replace("http://127.0.0.1:8400", demo.document["url"])
        done = subprocess.run(["sh", "-ec", pasted], cwd=tmp_path, capture_output=True, text=True, check=True)  # noqa: S603, S607 - as a person pastes it
    token, refusal = done.stdout.replace("}{", "}\n{").splitlines()
    assert (json.loads(token)["expires_in"], json.loads(token)["scope"]) == (300, "read")
    assert refusal in _README


def test_a_taken_port_gives_one_clear_line(tmp_path: Path) -> None:
    """A port in use is said in one line that names the setting."""
    with running_demo(tmp_path) as demo:
        port = demo.document["url"].rsplit(":")[-1]
        done = subprocess.run(  # noqa: S603 - our own command
            [keystile_command(), "serve"],
            cwd=tmp_path,
            env=plain_environment() | {"KEYSTILE_PORT": port},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "KEYSTILE_PORT" in done.stderr


def test_a_revoke_reaches_two_servers_on_one_folder(embedded: World) -> None:
    """The command line revokes; both servers refuse the key and its JWT within a second."""
    key = embedded.issue("alice")
    with KeystileServer(
        embedded.environment | {"KEYSTILE_ISSUER": embedded.issuer}, log_path=embedded.folder / "second.log"
    ) as second:
        token = embedded.jwt(key)
        urls = (embedded.server.url, second.url)
        credentials = (key["api_key"], token)
        assert {embedded.verify(text, url=url).status_code for url in urls for text in credentials} == {200}
        embedded.revoke(key["key_id"])
        assert soon(
            lambda: {embedded.verify(text, url=url).status_code for url in urls for text in credentials} == {401}
        )


def test_an_owner_not_seen_before_is_created(embedded: World) -> None:
    """The embedded store makes owners as keys are issued for them."""
    key = embedded.issue("bob", "ci", "--expires", "never", "--test")
    assert (key["owner"], key["expires_at"], key["environment"]) == ("bob", None, "test")
    assert key["api_key"].startswith("mcpkey_test_")
    assert embedded.verify(key["api_key"]).status_code == 200


def test_refusals_look_alike(embedded: World) -> None:
    """Malformed, forged, unknown and revoked keys get byte-identical answers at each door."""
    key, other = embedded.issue("alice"), embedded.issue("alice")
    embedded.revoke(other["key_id"])
    embedded.verify_until(other["api_key"], 401, meanwhile=(200,))
    stranger = embedded.issue("carol", KEYSTILE_DATA_DIR=str(embedded.folder / "elsewhere"))
    wrong = ("x", key["api_key"][:-1] + "~", stranger["api_key"], other["api_key"], "é" * 20, "")
    answers = [embedded.exchange({"key_id": key["key_id"], "api_key": text}) for text in wrong]
    answers += [embedded.exchange({"key_id": "nobody", "api_key": key["api_key"]})]
    assert {(answer.status_code, answer.content) for answer in answers} == {(401, b'{"error":"invalid_client"}')}
    assert {tuple(sorted(set(answer.headers) - {"date"})) for answer in answers} == {
        tuple(sorted(set(answers[0].headers) - {"date"}))
    }


def test_a_request_without_a_path_is_refused(embedded: World) -> None:
    """`CONNECT`, which names no path, is a client's error and no fault of ours."""
    with socket.create_connection(("127.0.0.1", embedded.server.port), timeout=5) as connection:
        connection.sendall(b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 400"
