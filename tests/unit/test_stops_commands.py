"""`keystile keys revoke|revoke-all|purge`, `peppers list` and `doctor`, typed and read; and progress bars."""

from __future__ import annotations

import io
import json
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from keystile.cli.progress import progress
from keystile.peppers import new_pepper
from unit.typed import Shell

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def rewrite(shell: Shell, key_id: str, **fields: Any) -> None:  # noqa: ANN401 - JSON
    """Change what the store holds of a key behind everybody's back."""
    with sqlite3.connect(shell.folder / "data" / "keystile.db") as connection:
        rows = connection.execute("SELECT rowid, text FROM records").fetchall()
        for row, text in rows:
            if json.loads(text)["id"] == key_id:
                changed = json.dumps({**json.loads(text), **fields})
                connection.execute("UPDATE records SET text = ? WHERE rowid = ?", (changed, row))
    connection.close()


def status(shell: Shell, key: Any) -> str:  # noqa: ANN401 - JSON
    return str(shell.json("keys", "show", key["key_id"])["status"])


def test_a_stolen_key_tells_what_it_issued(shell: Shell) -> None:
    """Revoked as compromised, it lists what it issued; with `--cascade` that goes too, and theirs."""
    first, second, third = (shell.issue(owner=owner) for owner in ("alice", "bob", "carol"))
    rewrite(shell, second["key_id"], issued_by=f"key:{first['key_id']}")
    rewrite(shell, third["key_id"], issued_by=f"key:{second['key_id']}")
    said = shell.says("keys", "revoke", first["key_id"], "--reason", "key_compromise", "--yes")
    assert said.startswith(f"{first['key_id']} is revoked.\nIt issued these, which are good; --cascade revokes them:")
    assert second["key_id"] in said
    assert third["key_id"] in said
    document = shell.json("keys", "revoke", first["key_id"], "--cascade", "--yes")
    assert set(document["cascade"]["revoked"]) == {second["key_id"], third["key_id"]}
    assert [status(shell, key) for key in (first, second, third)] == ["revoked"] * 3
    again = shell.says("keys", "revoke", first["key_id"], "--reason", "key_compromise", "--yes")
    assert "It issued no key that is still good." in again


def test_many_keys_are_revoked_at_once(shell: Shell) -> None:
    """The question says how many; a no ends nothing, and what does not fit stays."""
    keys = [shell.issue(owner=owner) for owner in ("alice", "bob")]
    words = ("keys", "revoke-all", "--issued-before", "2099-01-01", "--reason", "superseded")
    asked = shell.run(*words, typed="n\n")
    assert (asked.returncode, "Revoke 2 keys for ever? [y/N]" in asked.stderr) == (1, True)
    assert shell.json(*words, "--issued-by", "realm:nobody", "--yes") == {"revoked": [], "pending": []}
    assert shell.says(*words, "--owner", "bob", typed="y\n").endswith("1 key revoked, 0 failed.\n")
    assert shell.json(*words, "--yes") == {"revoked": [keys[0]["key_id"]], "pending": []}
    assert shell.json("keys", "show", keys[0]["key_id"])["revoked_reason"] == "superseded"
    assert "nobody" in shell.refusal("keys", "revoke-all", "--owner", "nobody", "--yes")
    assert "--issued-before" in shell.run("keys", "revoke-all", "--issued-before", "soon").stderr


def test_purge_shrinks_what_expired_long_ago(shell: Shell) -> None:
    """It asks, says what it did, and leaves a key that is shown as expired."""
    key, other = shell.issue(), shell.issue()
    rewrite(shell, key["key_id"], expires_at="2026-01-01T00:00:00Z")
    asked = shell.run("keys", "purge", typed="n\n")
    assert "Purge 1 record of 1 owner?" in asked.stderr
    assert shell.json("keys", "purge", "--yes") == {"shrunk": [key["key_id"]], "dropped": []}
    assert shell.says("keys", "purge") == "0 records shrunk to tombstones, 0 dropped.\n"
    assert [status(shell, each) for each in (key, other)] == ["expired", "active"]
    assert shell.json("keys", "events", key["key_id"])["events"][0]["event"] == "key_purged"
    assert "expired" in shell.refusal("keys", "change", key["key_id"], "--expires", "1d")


def test_peppers_are_counted(shell: Shell) -> None:
    """A pepper that live keys need is not called removable; `doctor` says the same, and finds one that is not set."""
    old, new = new_pepper("old"), new_pepper("new")
    shell.environment["KEYSTILE_PEPPERS"] = old
    key = shell.issue()
    shell.environment["KEYSTILE_PEPPERS"] = f"{new},{old}"
    counted = shell.json("peppers", "list")["peppers"]
    assert counted == [
        {"id": "new", "state": "current", "digests": 0, "stamps": 0, "removable": False},
        {"id": "old", "state": "accepted", "digests": 1, "stamps": 1, "removable": False},
    ]
    shell.environment["KEYSTILE_PEPPERS"] = new
    assert "pepper old is not set" in shell.run("doctor").stdout
    assert "not set" not in shell.run("doctor", "--no-count").stdout
    shell.environment["KEYSTILE_PEPPERS"] = f"{new},{old}"
    shell.says("keys", "rotate", key["key_id"], "--grace", "0", "--yes")
    table = shell.says("peppers", "list")
    (row,) = [line for line in table.splitlines() if "old" in line and "accepted" in line]
    assert [cell.strip() for cell in row.split("│")[1:6]] == ["old", "accepted", "0", "0", "yes"]
    assert "pepper old (accepted): 0 digests and 0 stamps of live keys: removable" in shell.says("doctor")


def test_there_is_nothing_to_reconcile_in_one_file(shell: Shell) -> None:
    """The embedded store keeps its changes beside its keys."""
    shell.issue()
    found = [finding["what"] for finding in shell.json("doctor", "--reconcile")["findings"]]
    assert any(what.startswith("nothing to reconcile") for what in found)


def test_bars_are_for_people_who_watch() -> None:
    """On a terminal a bar moves; into a pipe, and beside `--json`, nothing is written at all."""
    for terminal, quiet, shown in ((True, False, True), (True, True, False), (False, False, False)):
        file = io.StringIO()
        with progress("revoking", 2, quiet=quiet, console=Console(file=file, force_terminal=terminal)) as told:
            told()
            told()
        assert ("revoking" in file.getvalue()) is shown, (terminal, quiet)
