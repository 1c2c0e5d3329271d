"""Commands killed on the embedded store: what was told is kept, what was not is whole or not there."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from faults.issuing import issue_keys
from faults.killing import run_and_kill
from stack import KeystileServer
from stack.ports import free_port
from stack.processes import wait_until
from stories.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MOMENTS = [0.5 + step / 5 for step in range(8)]  # seconds into a command that takes about one
_AT_ONCE = 2
_SETTLES_WITHIN = 5.0


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[World]:
    """Serve an embedded store."""
    port = free_port()
    environment = {
        "KEYSTILE_DATA_DIR": str(tmp_path / "data"),
        "KEYSTILE_PORT": str(port),
        "KEYSTILE_MAX_KEYS_PER_OWNER": "50",
    }
    with KeystileServer(environment, port=port, log_path=tmp_path / "keystile.log") as server:
        yield World(server, environment, tmp_path)


def test_a_killed_issue_leaves_a_whole_key_or_none(embedded: World) -> None:
    """SIGKILL at any moment of an issue: a key that was told works, and what is stored can be listed and revoked."""
    arguments = ("keys", "issue", "--owner", "alice", "--name", "laptop", "--json")
    with ThreadPoolExecutor(_AT_ONCE) as killers:
        told = list(killers.map(lambda at: run_and_kill(embedded.environment, at, *arguments), [*_MOMENTS, 30.0]))
    documents = [json.loads(text) for text in told if text]
    assert documents, "the last one had time enough"
    assert {embedded.verify(document["api_key"]).status_code for document in documents} == {200}
    listed = {one["key_id"] for one in json.loads(embedded.cli("keys", "list", "--json").stdout)["keys"]}
    assert {document["key_id"] for document in documents} <= listed
    for key_id in listed:
        embedded.revoke(key_id)


def test_a_killed_revoke_is_done_or_not_done(embedded: World) -> None:
    """SIGKILL at any moment of a revoke: what was told bites, and no key is refused that is shown as active."""
    keys = issue_keys(embedded.environment, ["alice"] * len(_MOMENTS))
    assert {embedded.verify(text).status_code for _, text in keys} == {200}
    with ThreadPoolExecutor(_AT_ONCE) as killers:
        told = list(killers.map(lambda at, key: _revoke_and_kill(embedded, at, key), _MOMENTS, keys))
    assert wait_until(lambda: _is_consistent(embedded, keys), _SETTLES_WITHIN)
    assert {embedded.verify(key).status_code for (_, key), text in zip(keys, told, strict=True) if text} <= {401}


def _revoke_and_kill(embedded: World, at: float, key: tuple[str, str]) -> str:
    return run_and_kill(embedded.environment, at, "keys", "revoke", key[0], "--yes")


def _is_consistent(embedded: World, keys: list[tuple[str, str]]) -> bool:
    listed = json.loads(embedded.cli("keys", "list", "--json").stdout)["keys"]
    active = {one["key_id"] for one in listed if one["status"] == "active"}
    return all(embedded.verify(text).status_code == (200 if key_id in active else 401) for key_id, text in keys)
