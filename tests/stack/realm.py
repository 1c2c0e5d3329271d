"""The realm of a stack: set up by Keystile's own command, with one user to issue keys to."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import httpx

from stack.errors import StackError
from stack.keystile_server import keystile_command
from stack.processes import inherited_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

ALICE = {
    "username": "alice",
    "email": "alice@example.com",
    "firstName": "Alice",
    "lastName": "Example",
    "enabled": True,
}


def set_up_realm(environment: Mapping[str, str]) -> None:
    """Run `keystile keycloak setup`; *environment* holds all settings and the KEYCLOAK_ADMIN_ variables."""
    done = subprocess.run(  # noqa: S603 - our own command
        [keystile_command(), "keycloak", "setup", "--create-realm"],
        env=inherited_environment() | dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StackError(f"keystile keycloak setup failed:\n{(done.stdout + done.stderr).strip()}")


def ensure_user(environment: Mapping[str, str], user: Mapping[str, object]) -> None:
    """Create *user* in the realm of *environment* unless the username is there already."""
    users = f"/admin/realms/{environment['KEYSTILE_KEYCLOAK_REALM']}/users"
    with httpx.Client(base_url=environment["KEYCLOAK_ADMIN_URL"], trust_env=False, timeout=30) as client:
        headers = {"Authorization": f"Bearer {_admin_token(client, environment)}"}
        query = {"username": str(user["username"]), "exact": "true"}
        found = client.get(users, params=query, headers=headers).raise_for_status().json()
        if not found:
            client.post(users, json=dict(user), headers=headers).raise_for_status()


def _admin_token(client: httpx.Client, environment: Mapping[str, str]) -> str:
    form = {
        "grant_type": "password",
        "client_id": "admin-cli",
        "username": environment["KEYCLOAK_ADMIN_USER"],
        "password": environment["KEYCLOAK_ADMIN_PASSWORD"],
    }
    answer = client.post("/realms/master/protocol/openid-connect/token", data=form).raise_for_status()
    return str(answer.json()["access_token"])
