"""The embedded store's disk full: what is stored is answered, what cannot be stored is refused, and nothing is lost."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from stack import KeystileServer
from stack.keystile_server import keystile_command
from stack.ports import free_port
from stories.world import World, plain_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_BLOCK = 512  # bytes, as POSIX has it for `ulimit -f`
_ROOM = 40  # blocks left: a key or two
_MOST = 30  # keys until it must be full


class CrampedServer(KeystileServer):
    """Keystile on a disk where no file grows beyond *blocks*."""

    def __init__(self, environment: Mapping[str, str], *, log_path: Path, port: int, blocks: int) -> None:
        super().__init__(environment, log_path=log_path, port=port)
        self._blocks = blocks

    def _command(self) -> list[str]:
        return _cramped(self._blocks, super()._command())


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return an embedded store without a server yet."""
    tmp_path = tmp_path_factory.mktemp("full-disk")
    port = free_port()
    environment = {
        "KEYSTILE_DATA_DIR": str(tmp_path / "data"),
        "KEYSTILE_PORT": str(port),
        "KEYSTILE_MAX_KEYS_PER_OWNER": "50",
    }
    return World(KeystileServer(environment, port=port, log_path=tmp_path / "keystile.log"), environment, tmp_path)


@pytest.fixture(scope="module")
def full(stored: World) -> Iterator[World]:
    """Serve it on a disk with room for little more, known keys known, and fill that up."""
    stored.issue("alice", "first")
    blocks = (stored.folder / "data/keystile.db").stat().st_size // _BLOCK + _ROOM
    port = stored.server.port
    with CrampedServer(stored.environment, log_path=stored.folder / "k.log", port=port, blocks=blocks) as server:
        stored.server = server
        known = stored.ledger[0]
        assert stored.verify(known).status_code == 200
        for number in range(_MOST):
            issued = _issue(stored, blocks, f"key {number}")
            if issued.returncode:
                break
            stored.ledger.append(json.loads(issued.stdout)["api_key"])
        assert issued.returncode == 1, "the disk never filled up"
        assert "Traceback" not in issued.stderr, issued.stderr
        assert "keystile: " in issued.stderr
        yield stored


def test_what_is_stored_is_answered(full: World) -> None:
    """Every key whose issue was answered works, known or cold, and its JWT; the refused one left nothing behind."""
    assert [full.verify(key).status_code for key in full.ledger] == [200] * len(full.ledger)
    token = full.verify(full.ledger[0]).headers["authorization"].removeprefix("Bearer ")
    assert full.verify(token).status_code == 200
    listed = json.loads(full.cli("keys", "list", "--json").stdout)["keys"]
    assert len(listed) == len(full.ledger)


def test_a_refused_revoke_says_so(full: World) -> None:
    """A revoke that cannot be stored is no success; with room again it is done, and bites."""
    key = full.ledger.pop()
    key_id = key.split("_")[2]
    blocks = (full.folder / "data/keystile.db").stat().st_size // _BLOCK
    revoked = _cramped_cli(full, blocks, "keys", "revoke", key_id, "--yes")
    if revoked.returncode == 0:  # it found room
        full.verify_until(key, 401, meanwhile=(200,))
        return
    assert "try again" in revoked.stderr, revoked.stderr
    assert full.verify(key).status_code in {200, 401}
    full.revoke(key_id)
    full.verify_until(key, 401, meanwhile=(200,))


def test_with_room_again_keys_are_issued(full: World) -> None:
    """Nothing needs mending: the next issue after space was made works, and is accepted at once."""
    document = full.issue("alice", "afterwards")
    assert full.verify(document["api_key"]).status_code == 200


def _issue(world: World, blocks: int, name: str) -> subprocess.CompletedProcess[str]:
    return _cramped_cli(world, blocks, "keys", "issue", "--owner", "alice", "--name", name, "--json")


def _cramped_cli(world: World, blocks: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own command
        _cramped(blocks, [keystile_command(), *arguments]),
        env=plain_environment() | world.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def _cramped(blocks: int, command: list[str]) -> list[str]:
    return ["/bin/sh", "-c", 'ulimit -f "$0" && exec "$@"', str(blocks), *command]
