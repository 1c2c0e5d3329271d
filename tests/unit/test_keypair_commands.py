"""`keystile keypair new` and `keystile keys register`, typed and read."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest

from keystile.client_ids import ClientIds
from keystile.peppers import Peppers
from unit.typed import Shell

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.mark.parametrize("algorithm", ["ES256", "PS256"])
def test_every_kind_of_pair_is_registered(shell: Shell, tmp_path: Path, algorithm: str) -> None:
    """P-256 and RSA pairs are made and registered too."""
    public = tmp_path / "own.jwk"
    public.write_text(shell.says("keypair", "new", "--private-key", f"{public}.pem", "--algorithm", algorithm))
    shown = shell.json("keys", "register", "--owner", "alice", "--name", "laptop", "--public-key", str(public))
    assert shown["algorithm"] == algorithm


def test_new_pair_is_registered_and_lives_like_a_key(shell: Shell, tmp_path: Path) -> None:
    """Made, registered, listed, suspended, resumed, changed and revoked: what is typed for keys works for these."""
    private, public = tmp_path / "own.pem", tmp_path / "own.jwk"
    public.write_text(shell.says("keypair", "new", "--private-key", str(private)))
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    where = ("--owner", "alice", "--name", "laptop", "--public-key", str(public))
    shown = shell.json("keys", "register", *where, "--scope", "read", "--expires", "30d", "--requests-per-day", "9")
    key_id = shown["key_id"]
    assert (shown["owner"], shown["scopes"], shown["requests_per_day"]) == ("alice", ["read"], 9)
    assert "api_key" not in shown
    assert ClientIds(Peppers.parse((tmp_path / "data" / "peppers").read_text())).parse(key_id)
    assert shell.json("keys", "show", key_id)["fingerprint"] == shown["fingerprint"]
    assert shell.json("keys", "list", "--owner", "alice")["keys"][0]["fingerprint"] == shown["fingerprint"]
    assert shell.json("keys", "change", key_id, "--name", "desk")["name"] == "desk"
    assert shell.json("keys", "suspend", key_id, "--yes")["status"] == "suspended"
    assert shell.json("keys", "resume", key_id)["status"] == "active"
    assert "register another" in shell.refusal("keys", "rotate", key_id, "--yes")
    assert "registered already" in shell.refusal("keys", "register", *where)
    assert shell.json("keys", "revoke", key_id, "--yes")["status"] == "revoked"
    assert shell.json("peppers", "list")["unclear"] == 0


def test_pair_is_never_written_over_a_file(shell: Shell, tmp_path: Path) -> None:
    """What is in a file stays there: it may be the only copy of a key."""
    path = tmp_path / "own.pem"
    path.write_text("mine")
    assert "is there already" in shell.refusal("keypair", "new", "--private-key", str(path))
    assert path.read_text() == "mine"
    assert "No such file" in shell.refusal("keypair", "new", "--private-key", str(tmp_path / "no" / "own.pem"))


def test_with_json_there_is_one_document_and_no_private_key(shell: Shell, tmp_path: Path) -> None:
    """`--json` prints the public half and where the private one is."""
    path = tmp_path / "own.pem"
    made = shell.json("keypair", "new", "--private-key", str(path))
    assert set(made) == {"public_key", "fingerprint", "private_key"}
    assert set(made["public_key"]) == {"kty", "crv", "x"}


def test_what_is_no_public_key_is_refused_without_a_word_of_it(shell: Shell, tmp_path: Path) -> None:
    """A private key, a folder, a picture: refused in one line that repeats nothing."""
    private, other = tmp_path / "own.pem", tmp_path / "other"
    shell.says("keypair", "new", "--private-key", str(private))
    other.write_bytes(b"\xff\xd8\xff")
    where = ("keys", "register", "--owner", "alice", "--name", "laptop", "--public-key")
    said = shell.refusal(*where, str(private))
    assert "this is a private key" in said
    assert private.read_text().splitlines()[1] not in said
    assert "neither a JWK nor a PEM" in shell.refusal(*where, str(other))
    assert "Is a directory" in shell.refusal(*where, str(tmp_path))
    other.write_text(json.dumps({"kty": "oct", "k": "c2VjcmV0"}))
    assert "c2VjcmV0" not in shell.refusal(*where, str(other))
