"""Through the API: a key and all that it issued are revoked in one request, by whoever may revoke any key."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from unit.served import Client, bearer, prepare, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from unit.served import Prepared

ADMIN_KEY = "an-admin-key-of-more-than-32-characters"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
async def client(prepared: Prepared, tmp_path: Path) -> AsyncIterator[Client]:
    async with serving(prepared, tmp_path, admin_key=ADMIN_KEY, max_expiry="90d") as opened:
        yield opened


async def post(client: Client, path: str, body: dict[str, Any], who: str = ADMIN_KEY) -> tuple[int, Any]:
    headers = [bearer(who), ("Content-Type", "application/json")]
    answer = await client.send("POST", f"/sts/api/v1{path}", headers, [json.dumps(body).encode()])
    return answer.status, json.loads(answer.body)


async def issue(client: Client, owner: str, who: str = ADMIN_KEY, *scopes: str, **fields: Any) -> Any:  # noqa: ANN401 - JSON
    body = {"owner": owner, "name": "x", "scopes": list(scopes), "expires": "30d", **fields}
    status, document = await post(client, "/keys", body, who)
    assert status == 201, document
    return document


async def family(client: Client) -> list[Any]:
    """Return a key, one that it issued for another owner, and one that this one issued."""
    first = await issue(client, "alice", ADMIN_KEY, "keys:admin", "keys:write")
    second = await issue(client, "bob", first["api_key"], "keys:write", expires="20d")
    return [first, second, await issue(client, "bob", second["api_key"], expires="10d")]


async def statuses(client: Client, keys: list[Any]) -> list[int]:
    return [(await client.verify(bearer(key["api_key"]))).status for key in keys]


async def test_a_key_falls_with_all_that_it_issued(client: Client) -> None:
    """The answer shows the key, and names what fell with it; without `cascade` it falls alone."""
    alone, together = await family(client), await family(client)
    status, shown = await post(client, f"/keys/{alone[0]['key_id']}/revoke", {"reason": "key_compromise"})
    assert (status, "cascade" in shown) == (200, False)
    assert await statuses(client, alone) == [401, 200, 200]
    body = {"reason": "key_compromise", "cascade": True}
    status, shown = await post(client, f"/keys/{together[0]['key_id']}/revoke", body)
    assert (status, shown["status"], shown["revoked_reason"]) == (200, "revoked", "key_compromise")
    assert set(shown["cascade"]["revoked"]) == {key["key_id"] for key in together[1:]}
    assert await statuses(client, together) == [401, 401, 401]


async def test_all_keys_of_a_user_fall_with_what_they_issued(client: Client) -> None:
    """The same for a whole user."""
    keys = await family(client)
    status, shown = await post(client, "/users/alice/keys/revoke-all", {"cascade": True})
    assert (status, set(shown["revoked"])) == (200, {key["key_id"] for key in keys})
    assert await statuses(client, keys) == [401, 401, 401]


async def test_cascade_is_an_administrators_right(client: Client) -> None:
    """An owner that asks for it is refused before anything ends: what a key issued may be somebody else's."""
    keys = await family(client)
    own = keys[1]
    for path in (f"/keys/{own['key_id']}/revoke", "/users/bob/keys/revoke-all"):
        status, _ = await post(client, path, {"cascade": True}, own["api_key"])
        assert status == 403
    assert await statuses(client, keys) == [200, 200, 200]
    status, _ = await post(client, f"/keys/{own['key_id']}/revoke", {}, own["api_key"])
    assert status == 200


async def test_the_longest_life_is_a_fault_of_the_field(client: Client) -> None:
    """A new key and a changed one alike name `expires`; without one the default is cut."""
    body = {"owner": "alice", "name": "x"}
    for expires in ("91d", "never"):
        status, problem = await post(client, "/keys", {**body, "expires": expires})
        assert (status, problem["errors"][0]["field"]) == (422, "expires")
    status, _ = await post(client, "/keys", body)
    assert status == 201
