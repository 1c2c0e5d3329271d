"""The settings a stack runs with: what the caller's environment says, and defaults for the rest."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from stack.errors import StackError
from stack.ports import LOOPBACK, is_free

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stack.kept import Kept

DEFAULT_PORT = 8400
_ABOUT_A_RUN = ("KEYSTILE_URL", "KEYSTILE_MCP_URL", "KEYSTILE_PID")  # in stack.env, for people; no settings
_PATHS = ("_DIR", "_FILE", "_GATES", "_LOG")
_CLIENTS = ("READER", "WRITER", "TOKENS")


def given_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return every setting that *environment* holds, paths made absolute; an empty one counts as unset."""
    return {
        name: str(Path(value).absolute()) if name.endswith(_PATHS) else value
        for name, value in environment.items()
        if name.startswith("KEYSTILE_") and value and name not in _ABOUT_A_RUN
    }


def keystile_port(given: Mapping[str, str]) -> int:
    """Return the port Keystile is to have; raises `StackError` when it is taken."""
    text = given.get("KEYSTILE_PORT", str(DEFAULT_PORT))
    if not text.isdecimal():
        raise StackError(f"KEYSTILE_PORT is no number: {text}")
    if not is_free(int(text), given.get("KEYSTILE_HOST", LOOPBACK)):
        raise StackError(f"port {text} is taken; choose another: make stack KEYSTILE_PORT={int(text) + 1}")
    return int(text)


def stack_settings(
    given: Mapping[str, str], kept: Kept, directory: Path, *, keycloak_url: str, redis_url: str
) -> dict[str, str]:
    """Return all settings: *given* ones win, but the servers are always the stack's own."""
    port = given.get("KEYSTILE_PORT", str(DEFAULT_PORT))
    defaults = {
        "KEYSTILE_STORE": "keycloak",
        "KEYSTILE_DATA_DIR": str(directory / "stack/data"),
        "KEYSTILE_HOST": LOOPBACK,
        "KEYSTILE_PORT": port,
        # Written out, so that a second server on another port signs for the same issuer.
        "KEYSTILE_ISSUER": f"http://{LOOPBACK}:{port}/sts",
        "KEYSTILE_PEPPERS": f"p1:{kept.secret('pepper')}",
        "KEYSTILE_KEYCLOAK_REALM": "keystile",
        "KEYSTILE_AUDIT_LOG": str(directory / "audit.log"),
    }
    for client in _CLIENTS:
        defaults[f"KEYSTILE_KEYCLOAK_{client}_ID"] = f"keystile-{client.lower()}"
        defaults[f"KEYSTILE_KEYCLOAK_{client}_SECRET"] = kept.secret(client.lower())
    wanted = {name: value for name, value in defaults.items() if f"{name}_FILE" not in given}
    return {**wanted, **given, "KEYSTILE_KEYCLOAK_URL": keycloak_url, "KEYSTILE_REDIS_URL": redis_url}


def as_env_file(values: Mapping[str, str]) -> str:
    """Return one `NAME=value` a line; only a value that a shell would misread is quoted."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in sorted(values.items()))


def callers_settings() -> dict[str, str]:
    """Return what the caller of this process has set."""
    return given_settings(os.environ)
