"""A person signs in with a key pair of their own: made, registered, used, revoked; all on an embedded store."""

from __future__ import annotations

import http.server
import threading
from typing import TYPE_CHECKING

import jwt
import pytest

from stack import KeystileServer
from stories.world import plain_environment
from unit.typed import Shell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[KeystileServer]:
    environment = {**plain_environment(), "KEYSTILE_DATA_DIR": str(tmp_path / "data"), "KEYSTILE_SIGNING_ALG": "ES256"}
    with KeystileServer(environment, log_path=tmp_path / "keystile.log") as running:
        yield running


def test_a_key_pair_signs_in_until_it_is_revoked(server: KeystileServer, tmp_path: Path) -> None:
    """`keypair new`, `keys register`, `login`: a JWT of the owner, as JSON too; after `revoke` a refusal."""
    shell = Shell(tmp_path, {"KEYSTILE_PORT": str(server.port)})
    private, public = tmp_path / "own.pem", tmp_path / "own.jwk"
    public.write_text(shell.says("keypair", "new", "--private-key", str(private)))
    login = ("login", "--private-key", str(private))
    assert "is the key registered there" in shell.refusal(*login)
    words = ("--owner", "alice", "--name", "laptop", "--scope", "read", "--public-key", str(public))
    key_id = shell.json("keys", "register", *words)["key_id"]
    token = shell.says(*login, "--url", f"{server.url}/sts").strip()
    assert jwt.decode(token, options={"verify_signature": False})["client_id"] == key_id
    said = shell.json(*login, "--scope", "read")
    assert (said["scope"], said["key_id"], said["is_new_key"]) == ("read", key_id, False)
    assert "invalid_scope" in shell.refusal(*login, "--scope", "write")
    shell.says("keys", "revoke", key_id, "--yes")
    assert "401 invalid_client" in shell.refusal(*login)
    for log in (tmp_path / "keystile.log",):
        assert private.read_text().splitlines()[1] not in log.read_text()


def test_what_was_signed_follows_no_redirect(tmp_path: Path) -> None:
    """The attack: a server that one was led to sends the client on to another."""
    asked: list[str] = []

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.send_response(307)
            self.send_header("Location", "/other")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Elsewhere) as elsewhere:
        thread = threading.Thread(target=elsewhere.serve_forever)
        thread.start()
        shell = Shell(tmp_path)
        shell.says("keypair", "new", "--private-key", str(tmp_path / "own.pem"))
        url = f"http://127.0.0.1:{elsewhere.server_port}/sts"
        assert "answers 307" in shell.refusal("login", "--private-key", str(tmp_path / "own.pem"), "--url", url)
        elsewhere.shutdown()
        thread.join()
    assert asked == ["/sts/auth/challenge"]


def test_a_login_that_cannot_be_says_why_in_one_line(tmp_path: Path) -> None:
    """No server there, no such file, no private key, no address: one line each."""
    shell = Shell(tmp_path)
    private = tmp_path / "own.pem"
    public = tmp_path / "own.jwk"
    public.write_text(shell.says("keypair", "new", "--private-key", str(private)))
    login = ("login", "--private-key", str(private), "--url")
    assert "does not answer" in shell.refusal(*login, "http://127.0.0.1:9/sts")
    assert "the server's issuer is a URL" in shell.refusal(*login, "file:///etc")
    assert "No such file" in shell.refusal("login", "--private-key", str(tmp_path / "none.pem"))
    assert "no private key" in shell.refusal("login", "--private-key", str(public))
