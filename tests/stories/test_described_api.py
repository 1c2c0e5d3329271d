"""The management API does what its description says: schemathesis sends what it allows, and what it forbids."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from stack import KeystileServer
from stack.ports import free_port
from stories.world import World, plain_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

ADMIN_KEY = "an-admin-key-of-more-than-32-characters"
OF_OWNERS = ("keys:read", "keys:write", "read", "write")
# All default checks are on. What no schema can say: a valid request may name what is not there, not allowed or just
# changed (404, 403, 409, 412), a text may mean nothing in this deployment (422: a level, a bit too many in a CIDR), and
# whatever is sent may be too much altogether (413). 400 and 415 stand for requests that cannot be read, and 5xx for
# faults of ours: a valid one never meets these.
STATUSES = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "403", "404", "409", "412", "413", "422"]
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "409", "412", "413", "415", "422"]
"""
# Of two credentials in one request none is picked: it would only ever be told that (`test_api_attacks` has this).
ONE_CREDENTIAL = ("--generation-with-security-parameters", "false")
# These would end the caller, or the key that all others are tried on; the admin key tries them.
ENDING = ("delete_key", "revoke_key", "revoke_all_of_user")


@pytest.fixture
def described(tmp_path: Path) -> Iterator[World]:
    """Serve an embedded store that has a bootstrap admin key."""
    port = free_port()
    environment = {
        "KEYSTILE_DATA_DIR": str(tmp_path / "data"),
        "KEYSTILE_PORT": str(port),
        "KEYSTILE_AUDIT_LOG": str(tmp_path / "audit.log"),
        "KEYSTILE_ADMIN_KEY": ADMIN_KEY,
        "KEYSTILE_MAX_KEYS_PER_OWNER": "10",
    }
    with KeystileServer(environment, port=port, log_path=tmp_path / "keystile.log") as server:
        yield World(server, environment, tmp_path)


def try_out(world: World, presented: str, config: str, *options: str) -> str:
    """Run schemathesis, the same requests each time, and return what it says; every finding fails the test."""
    path = world.folder / "schemathesis.toml"
    path.write_text(config)
    command = Path(sys.executable).with_name("schemathesis")
    done = subprocess.run(  # noqa: S603 - our own tool
        [
            *(str(command), "--config-file", str(path), "run", f"{world.server.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {presented}", "--generation-deterministic", *ONE_CREDENTIAL),
            *("--continue-on-failure", "--no-color", *options),
        ],
        cwd=world.folder,
        env=plain_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_admin_meets_no_surprise(described: World) -> None:
    """Whatever the admin key sends, in whatever order: documented statuses, schemas and types, and no fault of ours."""
    said = try_out(described, ADMIN_KEY, STATUSES, "--max-examples", "10")
    assert "Tested: 17" in said
    assert "unexpected error" not in (described.folder / "keystile.log").read_text()


def test_an_owner_meets_no_surprise(described: World) -> None:
    """The same of an owner's key, on a key and a user that are really there; and the caller is still good after it."""
    scopes = [text for scope in OF_OWNERS for text in ("--scope", scope)]
    caller = described.issue("alice", "caller", *scopes, "--expires", "never")
    target = described.issue("alice", "target", "--scope", "read")
    ids = f"""
    [parameters]
    "path.key_id" = "{target["key_id"]}"
    "path.user_id" = "{target["owner_id"]}"
    """
    without = [text for name in ENDING for text in ("--exclude-operation-id", name)]
    phases = ("--phases", "examples,coverage,fuzzing")
    said = try_out(described, caller["api_key"], ids + STATUSES, "--max-examples", "8", *phases, *without)
    assert "Tested: 14" in said
    assert "unexpected error" not in (described.folder / "keystile.log").read_text()
    whoami = httpx.get(
        f"{described.issuer}/api/v1/whoami", headers={"Authorization": f"Bearer {caller['api_key']}"}
    ).json()
    assert whoami["key_id"] == caller["key_id"]
