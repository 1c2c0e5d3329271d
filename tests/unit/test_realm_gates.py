"""Gates where the realm signs: a key gets its token for the gate's audience, and that token is no credential here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jwt
from cachetools import FIFOCache

from keystile.gates import Gate
from keystile.http.addresses import ClientAddresses
from keystile.http.doors import Contexts
from keystile.http.forwarding import Forwarding
from keystile.http.gate_door import GateDoor, gate_door
from keystile.http.verify_door import VerifyDoor
from keystile.records import RevocationReason
from unit.builders import rules
from unit.realm_world import LIFE, MCP, RealmProcess, RealmWorld

if TYPE_CHECKING:
    from unit.world import World

UNMAPPED = "https://unmapped.example.com"


def gate_at(here: RealmProcess, audience: str) -> GateDoor:
    contexts = Contexts(rules(), ClientAddresses(()), Forwarding("path", "/sts/verify"))
    verify = VerifyDoor(here.process.verifier, here.process.jwts, here.exchange, contexts)
    return gate_door("it", Gate(audience=audience, scopes=("read",)), verify, contexts, FIFOCache(10))


async def ask(gate: GateDoor, credential: str) -> tuple[int, str]:
    """Return the status, and what stands for the key upstream."""
    sent: list[Any] = []

    async def send(message: Any) -> None:  # noqa: ANN401 - ASGI's
        sent.append(message)

    headers = [(b"authorization", b"Bearer " + credential.encode())]
    scope = {"method": "GET", "path": "/sts/verify", "raw_path": b"/sts/verify", "headers": headers}
    await gate(scope, None, send)  # type: ignore[arg-type]  # no body is read
    return sent[0]["status"], dict(sent[0]["headers"]).get(b"authorization", b"").decode().removeprefix("Bearer ")


async def test_a_gate_hands_out_the_realm_s_token(world: World) -> None:
    """For its audience, for half of a life, longer while the realm is away; never passed on, and gone with its key."""
    realm = RealmWorld.of(world)
    here = realm.join()
    gate, half = gate_at(here, MCP), LIFE.total_seconds() / 2
    issued = await realm.issue(audiences=(MCP, UNMAPPED))
    key = issued.key.reveal()
    status, first = await ask(gate, key)
    claims = jwt.decode(first, options={"verify_signature": False})
    assert (status, claims["aud"], claims["scope"]) == (200, MCP, "read write")
    assert await ask(gate, first) == (401, "")
    assert await ask(gate_at(here, UNMAPPED), key) == (401, "")
    await world.pass_time(half - 1)
    assert await ask(gate, key) == (200, first)
    await world.pass_time(2)
    _, second = await ask(gate, key)
    assert second not in (first, "")
    realm.signer.down = True
    await world.pass_time(half + 1)
    assert await ask(gate, key) == (200, second)
    await world.pass_time(half)
    assert await ask(gate, key) == (503, "")
    realm.signer.down = False
    assert (await ask(gate, key))[0] == 200
    await here.process.lifecycle.revoke(issued.record.key_id, reason=RevocationReason.UNSPECIFIED, revoked_by="test")
    assert await ask(gate, key) == (401, "")
