from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from keystile.http.api.operations import OPERATIONS
from unit.served import Answered, Client, bearer, prepare, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from keystile.http.api.operation import Operation
    from unit.served import Prepared

ADMIN_KEY = "an-admin-key-of-more-than-32-characters"
BASE = "/sts/api/v1"
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
GOOD_KEYS = ("a plain key", "a key that may introspect")
STRANGERS = (*GOOD_KEYS, "nobody", "nonsense", "a JWT for the default audience", "revoked")


@dataclass(frozen=True)
class Seen:
    """What a caller may do to its own keys, and to those of others; the rest is refused."""

    own: set[str]
    others: set[str]


# Written down here once more, by hand: this is what was promised, not what the table says.
EXPECTED = {
    "admin key": Seen(own=EVERYTHING, others=EVERYTHING),
    "keys:admin": Seen(own=EVERYTHING, others=EVERYTHING),
    "keys:read": Seen(own=READS, others=OF_NOBODY),
    "keys:write": Seen(own=WRITES, others={"whoami"}),
    "JWT of keys:read": Seen(own=READS, others=OF_NOBODY),
    "JWT of keys:write": Seen(own=WRITES, others={"whoami"}),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
async def client(prepared: Prepared, tmp_path: Path) -> AsyncIterator[Client]:
    async with serving(prepared, tmp_path, admin_key=ADMIN_KEY, max_keys_per_owner=50) as opened:
        yield opened


async def issue(client: Client, owner: str, *scopes: str, expires: str = "30d") -> dict[str, Any]:
    body = json.dumps({"owner": owner, "name": "x", "scopes": scopes, "expires": expires}).encode()
    answer = await client.send(
        "POST", f"{BASE}/keys", [bearer(ADMIN_KEY), ("Content-Type", "application/json")], [body]
    )
    assert answer.status == 201, answer.body
    issued: dict[str, Any] = answer.json()
    return issued


async def jwt_of(client: Client, key: dict[str, Any], scope: str) -> str:
    issuer = "http://127.0.0.1:8400/sts"
    answer = await client.token(
        client_id=key["key_id"], client_secret=key["api_key"], resource=f"{issuer}/api/v1", scope=scope
    )
    return str(answer.json()["access_token"])


async def credential(client: Client, who: str) -> str | None:
    """Return what that caller presents; all but the strangers act for alice."""
    if who in ("nobody", "nonsense", "revoked", "admin key"):
        return {"nobody": None, "nonsense": "nonsense", "revoked": client.keys["revoked"], "admin key": ADMIN_KEY}[who]
    if who == "a plain key":
        return str((await issue(client, "alice", "read"))["api_key"])
    if who == "a key that may introspect":
        return str((await issue(client, "alice", "introspect"))["api_key"])
    if who == "a JWT for the default audience":
        key = await issue(client, "alice", "keys:admin", "keys:write", "keys:read")
        answer = await client.token(client_id=key["key_id"], client_secret=key["api_key"])
        return str(answer.json()["access_token"])
    scope = who.removeprefix("JWT of ")
    key = await issue(client, "alice", scope, expires="90d")
    return key["api_key"] if scope == who else await jwt_of(client, key, scope)


async def suspend(client: Client, target: dict[str, Any], who: str) -> Answered:
    return await client.send("POST", f"{BASE}/keys/{target['key_id']}/suspend", [bearer(who)])


async def ask(client: Client, operation: Operation, target: dict[str, Any], presented: str | None) -> int:
    """Ask for *operation* on that key, or on its owner."""
    path = operation.path.replace("{key_id}", target["key_id"]).replace("{user_id}", target["owner"])
    body = BODIES.get(operation.name)
    if operation.name == "issue_key":
        body = {**(body or {}), "owner": target["owner"]}
    if operation.name == "resume_key":
        for who in (presented, ADMIN_KEY):  # what an administrator suspended, an owner does not resume
            if who is not None and (await suspend(client, target, who)).status == 200:
                break
    headers = [] if presented is None else [bearer(presented)]
    sent = [] if body is None else [json.dumps(body).encode()]
    headers += [("Content-Type", "application/json")] if sent else []
    return (await client.send(operation.method, BASE + path, headers, sent)).status


LAST = ("revoke_key", "delete_key", "revoke_all_of_user")
IN_ORDER = sorted(OPERATIONS, key=lambda operation: LAST.index(operation.name) if operation.name in LAST else -1)


@pytest.mark.parametrize("who", EXPECTED)
async def test_every_caller_at_every_route(client: Client, who: str) -> None:
    """Each route does for each caller what is promised, on its own keys and on those of others, and nothing more."""
    presented = await credential(client, who)
    for owner in ("bob", "alice"):  # the last of all may end the caller's own key
        target = await issue(client, owner)
        allowed = EXPECTED[who].own if owner == "alice" else EXPECTED[who].others
        for operation in IN_ORDER:
            status = await ask(client, operation, target, presented)
            wanted = (200, 201, 204) if operation.name in allowed else (403, 404)
            assert status in wanted, (owner, operation.name, status)


@pytest.mark.parametrize("who", STRANGERS)
async def test_a_stranger_at_every_route(client: Client, who: str) -> None:
    """Who proves nothing is not authenticated, a good key without a keys: scope not allowed, at any route."""
    presented, target = await credential(client, who), await issue(client, "alice")
    for operation in IN_ORDER:
        status = await ask(client, operation, target, presented)
        assert status == (403 if who in GOOD_KEYS else 401), operation.name


def test_every_operation_is_walked() -> None:
    """An operation that comes later must be written down above before this passes."""
    assert {operation.name for operation in OPERATIONS} == EVERYTHING
