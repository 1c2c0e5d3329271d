"""What others in this field got wrong, once each: the rest of what is promised stands beside the part that keeps it.

JWKS as they are in `PyJWKClient`: stories/test_main_job. Tokens that Keycloak signed, active at Keycloak and inactive
after our revoke: stories/test_keycloak_signed.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from keystile.keys import KeyFormat
from keystile.wiring import load_peppers
from unit.managing import ADMIN_KEY, API, ask, document, issue, jwt_of
from unit.served import MCP, basic, bearer, key_id, serving, settings_in
from unit.test_token_exchange import ACCESS_TOKEN, GRANT, exchange

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from unit.served import Answered, Client, Prepared

ISSUER = "http://127.0.0.1:8400/sts"


@pytest.fixture
async def client(prepared: Prepared, tmp_path: Path) -> AsyncIterator[Client]:
    async with serving(prepared, tmp_path, admin_key=ADMIN_KEY, failures_per_minute=1_000) as opened:
        yield opened


async def every_answer(client: Client, presented: str) -> list[Answered]:
    """Present a key at every door that takes one, last as what is asked about."""
    return [
        await client.verify(bearer(presented)),
        await client.verify(bearer(presented), path="/sts/gate/nginx"),
        await client.verify(("X-API-Key", presented)),
        await client.token(bearer(presented)),
        await client.token(basic(key_id(presented), presented)),
        await exchange(client, presented),
        await client.send("POST", "/api/v1/api-keys/validate", [("X-API-Key", presented)]),
        await ask(client, "GET", "/whoami", who=bearer(presented)),
        await client.introspect(presented),
    ]


async def test_no_jwt_of_a_revoked_key_mints_another(client: Client) -> None:
    """Neither the key nor any JWT made before: not by exchange, not as an actor, not as a new key."""
    key = await issue(client, scopes=["read", "keys:write"], audiences=[ISSUER])
    answer = await client.token(bearer(key["api_key"]), resource=ISSUER)
    chained, managing = answer.json()["access_token"], await jwt_of(client, key, "keys:write")
    as_subject = {"grant_type": GRANT, "subject_token": chained, "subject_token_type": ACCESS_TOKEN}
    assert (await client.token(**as_subject)).status == 200
    document(await ask(client, "POST", f"/keys/{key['key_id']}/revoke"))
    assert (await client.token(**as_subject)).status == 400
    acting = {"actor_token": chained, "actor_token_type": ACCESS_TOKEN}
    assert (await exchange(client, client.keys["good"], **acting)).status == 400
    assert (await client.token(bearer(key["api_key"]))).status == 401
    assert (await ask(client, "POST", "/keys", {"name": "another"}, who=bearer(managing))).status == 401


async def test_key_caps_the_life_of_every_token(client: Client) -> None:
    """A key with a minute to live gives nobody more than that minute."""
    ends_at = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=1)
    key = await issue(client, expires=ends_at.isoformat(), scopes=["read"], audiences=[MCP])
    answers: list[Any] = [
        (await client.token(bearer(key["api_key"]))).json(),
        (await client.token(bearer(key["api_key"]), resource=MCP)).json(),
        (await exchange(client, key["api_key"])).json(),
        (await client.send("POST", "/api/v1/api-keys/validate", [("X-API-Key", key["api_key"])])).json(),
    ]
    tokens = [answer["access_token"] for answer in answers]
    tokens.append(((await client.verify(bearer(key["api_key"]))).header("authorization") or "").split()[1])
    for token in tokens:
        assert jwt.decode(token, options={"verify_signature": False})["exp"] <= ends_at.timestamp()


async def test_server_secret_and_key_id_make_no_key(client: Client, tmp_path: Path) -> None:
    """The attack: the peppers leaked, key ids are public, and nothing was written to any store."""
    forger = KeyFormat(load_peppers(settings_in(tmp_path)))
    for state in ("good", "revoked", "server"):
        made = forger.generate("live", key_id(client.keys[state])).reveal()
        assert made.startswith(f"mcpkey_live_{key_id(client.keys[state])}_")
        *refused, introspected = await every_answer(client, made)
        assert {answer.status for answer in refused} <= {400, 401}
        assert introspected.json() == {"active": False}


async def test_refusal_tells_no_real_key_from_a_guess(client: Client, tmp_path: Path) -> None:
    """Whatever became of a key, without its secret its id is answered as one that never was."""
    forger = KeyFormat(load_peppers(settings_in(tmp_path)))
    guess = await every_answer(client, forger.generate("live").reveal())
    for state in ("good", "suspended", "revoked", "expired", "owner_disabled"):
        assert await every_answer(client, forger.generate("live", key_id(client.keys[state])).reveal()) == guess


async def test_jwt_for_one_server_is_worth_nothing_elsewhere(client: Client) -> None:
    """A JWT that a server was shown opens no other door: verify, exchange, management, another server's question."""
    token = await client.jwt("good", resource=MCP)
    assert (await client.verify(bearer(token))).status == 401
    assert (await client.verify(bearer(token), path="/sts/gate/nginx")).status == 401
    assert (await client.token(grant_type=GRANT, subject_token=token, subject_token_type=ACCESS_TOKEN)).status == 400
    assert (await exchange(client, client.keys["good"], actor_token=token, actor_token_type=ACCESS_TOKEN)).status == 400
    assert (await ask(client, "GET", "/whoami", who=bearer(token))).status == 401
    assert (await client.introspect(token, by="another_server")).json() == {"active": False}
    assert (await client.introspect(token)).json()["active"]
    assert API not in jwt.decode(token, options={"verify_signature": False})["aud"]
