"""Every route of the management API as a test walks it: in which order, with what body, and who may take it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keystile.http.api.operations import OPERATIONS

if TYPE_CHECKING:
    from keystile.http.api.operation import Operation

BODIES: dict[str, dict[str, Any]] = {
    "issue_key": {"name": "new", "expires": "1d"},
    "issue_key_for_user": {"name": "new", "expires": "1d"},
    "change_key": {"name": "renamed"},
    "rotate_key": {"grace": 60},
    "revoke_key": {},
    "report_usage": {"tokens": 1},
    "revoke_all_of_user": {},
    "verify_keys": {"keys": ["mcpkey_live_short"]},
}
READS = {"list_keys", "show_key", "show_usage", "list_events", "list_keys_of_user", "verify_keys", "whoami"}
WRITES = {
    "issue_key", "change_key", "delete_key", "suspend_key", "resume_key", "rotate_key", "revoke_key", "report_usage",
    "issue_key_for_user", "revoke_all_of_user", "whoami",
}  # fmt: skip
EVERYTHING = READS | WRITES
OF_NOBODY = {"list_keys", "whoami", "verify_keys"}  # these name no key and no user
LAST = ("revoke_key", "delete_key", "revoke_all_of_user")
IN_ORDER = sorted(OPERATIONS, key=lambda operation: LAST.index(operation.name) if operation.name in LAST else -1)
DONE = (200, 201, 204)
REFUSED = (403, 404)


def request_of(operation: Operation, target: dict[str, Any], user: str) -> tuple[str, Any]:
    """Return path and body that ask for *operation* on the key *target*, or on its owner, who is called *user*."""
    path = operation.path.replace("{key_id}", target["key_id"]).replace("{user_id}", user)
    body = BODIES.get(operation.name)
    return path, {**(body or {}), "owner": target["owner"]} if operation.name == "issue_key" else body
