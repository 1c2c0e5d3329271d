"""The management API as a test asks it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from unit.served import bearer

if TYPE_CHECKING:
    from unit.served import Answered, Client

ADMIN_KEY = "an-admin-key-of-more-than-32-characters"
ADMIN = bearer(ADMIN_KEY)
BASE = "/sts/api/v1"
API = f"http://127.0.0.1:8400{BASE}"


async def ask(
    client: Client,
    method: str,
    path: str,
    body: Any = None,  # noqa: ANN401 - JSON
    *headers: tuple[str, str],
    who: tuple[str, str] | None = ADMIN,
    query: str = "",
) -> Answered:
    sent = [] if body is None else [json.dumps(body).encode()]
    about = [("Content-Type", "application/json"), ("Content-Length", str(len(sent[0])))] if sent else []
    who_asks = [] if who is None else [who]
    return await client.send(method, BASE + path, [*who_asks, *about, *headers], sent, query=query)


def document(answer: Answered, status: int = 200) -> Any:  # noqa: ANN401 - JSON
    assert answer.status == status, (answer.status, answer.body)
    return json.loads(answer.body)


async def issue(client: Client, **fields: Any) -> Any:  # noqa: ANN401 - JSON
    return document(await ask(client, "POST", "/keys", {"owner": "alice", "name": "laptop", **fields}), 201)


async def is_good(client: Client, api_key: str) -> bool:
    return (await client.verify(bearer(api_key))).status == 200


async def jwt_of(client: Client, key: dict[str, Any], scope: str) -> str:
    """Return a JWT for the management API by that key."""
    answer = await client.token(client_id=key["key_id"], client_secret=key["api_key"], resource=API, scope=scope)
    return str(answer.json()["access_token"])
