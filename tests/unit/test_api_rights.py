from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from keystile.http.api.operations import OPERATIONS
from unit import managing
from unit.managing import ADMIN_KEY, jwt_of
from unit.routes import DONE, EVERYTHING, IN_ORDER, OF_NOBODY, READS, REFUSED, WRITES, request_of
from unit.served import Client, bearer, prepare, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from keystile.http.api.operation import Operation
    from unit.served import Prepared

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


async def issue(client: Client, owner: str, *scopes: str, expires: str = "30d") -> Any:  # noqa: ANN401 - JSON
    return await managing.issue(client, owner=owner, name="x", scopes=scopes, expires=expires)


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


async def ask(client: Client, operation: Operation, target: dict[str, Any], presented: str | None) -> int:
    """Ask for *operation* on that key, or on its owner."""
    path, body = request_of(operation, target, target["owner"])
    if operation.name == "resume_key":
        for who in (presented, ADMIN_KEY):  # what an administrator suspended, an owner does not resume
            suspend = f"/keys/{target['key_id']}/suspend"
            if who is not None and (await managing.ask(client, "POST", suspend, who=bearer(who))).status == 200:
                break
    who_asks = None if presented is None else bearer(presented)
    return (await managing.ask(client, operation.method, path, body, who=who_asks)).status


@pytest.mark.parametrize("who", EXPECTED)
async def test_every_caller_at_every_route(client: Client, who: str) -> None:
    """Each route does for each caller what is promised, on its own keys and on those of others, and nothing more."""
    presented = await credential(client, who)
    for owner in ("bob", "alice"):  # the last of all may end the caller's own key
        target = await issue(client, owner)
        allowed = EXPECTED[who].own if owner == "alice" else EXPECTED[who].others
        for operation in IN_ORDER:
            status = await ask(client, operation, target, presented)
            wanted = DONE if operation.name in allowed else REFUSED
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
