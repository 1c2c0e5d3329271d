"""`/sts/auth` as a test asks it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from keystile.public_keys import encode, signed_text

if TYPE_CHECKING:
    from unit.keypairs import Pair
    from unit.served import Answered, Client

ISSUER = "http://127.0.0.1:8400/sts"


async def post(client: Client, path: str, body: Any, *headers: tuple[str, str], peer: str = "192.0.2.1") -> Answered:  # noqa: ANN401 - JSON
    """Post a document below `/sts/auth`."""
    sent = json.dumps(body).encode()
    about = [("Content-Type", "application/json"), ("Content-Length", str(len(sent)))]
    return await client.send("POST", f"/sts/auth/{path}", [*about, *headers], [sent], peer=peer)


async def challenged(client: Client, by: Pair, *, purpose: str = "login", peer: str = "192.0.2.1") -> dict[str, Any]:
    """Ask for a challenge and return it, with what it is for."""
    asked = {"fingerprint": by.public.fingerprint, "alg": by.algorithm, "purpose": purpose}
    answer = await post(client, "challenge", asked, peer=peer)
    assert answer.status == 200, answer.body
    return {**answer.json(), **asked}


def signed(by: Pair, challenge: dict[str, Any], issuer: str = ISSUER) -> dict[str, Any]:
    """Return the answer to a challenge."""
    text = signed_text(
        issuer=issuer,
        purpose=challenge["purpose"],
        fingerprint=challenge["fingerprint"],
        algorithm=challenge["alg"],
        nonce=challenge["nonce"],
        exp=challenge["exp"],
    )
    kept = {name: challenge[name] for name in ("fingerprint", "alg", "nonce", "purpose")}
    return {**kept, "signature": encode(by.sign(text))}


async def login(client: Client, by: Pair, peer: str = "192.0.2.1", **more: Any) -> Answered:  # noqa: ANN401 - fields
    """Answer a fresh challenge with a signature."""
    challenge = await challenged(client, by, peer=peer)
    return await post(client, "verify", {**signed(by, challenge), **more}, peer=peer)
