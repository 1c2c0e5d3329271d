"""Gates from a file: each route has an audience of its own, on a server as an operator starts it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import httpx
import jwt

from stack import KeystileServer
from stack.ports import free_port
from stories.world import World, until

if TYPE_CHECKING:
    from pathlib import Path

ORDERS, STOCK = "https://orders.example.com", "https://stock.example.com"
GATES = f"""
[gates.orders]
audience = "{ORDERS}"
scopes = ["orders:read"]

[gates.orders.headers]
subject = "X-User"

[gates.order-desk]
audience = "{ORDERS}"
scopes = ["orders:read", "orders:write"]
answers = "nginx"

[gates.stock]
audience = "{STOCK}"
"""
BAD = '[gates.orders]\nscope = ["orders:read"]\n[gates.stock]\naudience = "stock"\n'


def at(world: World, gate: str, credential: str) -> httpx.Response:
    return httpx.get(f"{world.server.url}/sts/gate/{gate}/v1/x", headers={"Authorization": f"Bearer {credential}"})


def test_each_route_has_its_own_audience(tmp_path: Path) -> None:
    """A key passes where it is allowed, gets a JWT for there and no other place, and a revoke ends both."""
    port = free_port()
    (tmp_path / "gates.toml").write_text(GATES)
    environment = {
        "KEYSTILE_DATA_DIR": str(tmp_path / "data"),
        "KEYSTILE_PORT": str(port),
        "KEYSTILE_GATES": str(tmp_path / "gates.toml"),
    }
    with KeystileServer(environment, port=port, log_path=tmp_path / "keystile.log") as server:
        world = World(server, environment, tmp_path)
        key = world.issue("alice", "laptop", "--scope", "orders:read", "--audience", ORDERS)
        answer = at(world, "orders", key["api_key"])
        token = answer.headers["authorization"].removeprefix("Bearer ")
        signing = jwt.PyJWKSet.from_dict(httpx.get(f"{world.issuer}/jwks.json").json()).keys[0]
        claims = jwt.decode(token, signing, ["RS256"], audience=ORDERS, issuer=world.issuer)
        assert (answer.status_code, answer.headers["x-user"]) == (200, claims["sub"])
        assert at(world, "orders", token).headers["authorization"] == f"Bearer {token}"
        assert [at(world, "stock", text).status_code for text in (key["api_key"], token)] == [401, 401]
        assert world.verify(token).status_code == 401
        lacking = at(world, "order-desk", key["api_key"])
        assert (lacking.status_code, lacking.headers["x-auth-status"]) == (403, "403")
        assert 'scope="orders:read orders:write"' in lacking.headers["www-authenticate"]
        assert at(world, "unknown", key["api_key"]).status_code == 404
        world.revoke(key["key_id"])
        for text in (key["api_key"], token):
            until(partial(at, world, "orders", text), lambda answer: answer.status_code == 401, (200,))
        assert "3 configured gates: orders, order-desk, stock" in world.cli("doctor").stdout
    (tmp_path / "bad.toml").write_text(BAD)
    refused = world.cli("serve", KEYSTILE_GATES=str(tmp_path / "bad.toml"))
    assert refused.returncode == 1
    for place in ("orders.audience: it is needed", "orders.scope: there is no such field", "stock.audience: it is"):
        assert f"KEYSTILE_GATES: gates.{place}" in refused.stderr
