from __future__ import annotations

import time
from typing import TYPE_CHECKING

import jwt
import pytest

from keystile.adapters.sqlite.log import SqliteChangeLog
from keystile.errors import CannotTellError
from unit.served import FORM, MCP, REFUSED, basic, bearer, key_id

if TYPE_CHECKING:
    from unit.served import Answered, Client


def is_done(answer: Answered) -> bool:
    """Tell whether the answer is that of RFC 7009, 2.2: 200, and nothing in it."""
    return (answer.status, answer.body, answer.header("content-length")) == (200, b"", "0")


async def is_good(client: Client, token: str) -> bool:
    """Tell whether a JWT of the default audience is good; the gateway and resource servers never differ."""
    verified = (await client.verify(bearer(token))).status == 200
    assert (await client.introspect(token)).json()["active"] is verified
    return bool(verified)


@pytest.mark.parametrize("state", [*REFUSED, "another_id"])
async def test_whoever_revokes_must_authenticate(client: Client, state: str) -> None:
    """Without a good key nothing is revoked, whosever token it is (RFC 7009, 2.1)."""
    token = await client.jwt()
    by = bearer(client.keys[state]) if state in client.keys else basic("nobody", client.keys["good"])
    for target in (token, client.keys["good"]):
        answer = await client.send("POST", "/sts/revoke", [FORM, by], [f"token={target}".encode()])
        assert (answer.status, answer.json()) == (401, {"error": "invalid_client"})
    assert await is_good(client, token)


@pytest.mark.parametrize("by", ["other", "server", "limited"])
async def test_nobody_revokes_what_is_anothers(client: Client, by: str) -> None:
    """Neither a JWT nor a key of somebody else, not even by a resource server that may see it (RFC 7009, 2.1)."""
    token = await client.jwt()
    for target in (token, client.keys["good"]):
        answer = await client.revoke(target, by=by)
        assert (answer.status, answer.json()["error"]) == (400, "invalid_request")
    assert await is_good(client, token)
    assert (await client.token(bearer(client.keys["good"]))).status == 200


async def test_jwt_is_no_way_to_revoke(client: Client) -> None:
    """A JWT that leaked ends neither itself nor others: only the key does."""
    token = await client.jwt()
    headers = [FORM, bearer(token)]
    assert (await client.send("POST", "/sts/revoke", headers, [f"token={token}".encode()])).status == 401
    assert await is_good(client, token)


async def test_revoked_jwt_is_dead_everywhere_and_its_key_is_not(client: Client) -> None:
    """That one JWT is inactive at once; the key, and what else it gave, is as good as before."""
    token, another = await client.jwt(), await client.jwt()
    assert await is_good(client, token)
    assert is_done(await client.revoke(token))
    assert not await is_good(client, token)
    assert await is_good(client, another)
    assert await is_good(client, await client.jwt())


async def test_api_refuses_a_revoked_jwt(client: Client) -> None:
    """The management API is one of the doors."""
    rights = {"resource": "http://127.0.0.1:8400/sts/api/v1", "scope": "keys:read"}
    token = await client.jwt("manager", **rights)
    assert (await client.send("GET", "/sts/api/v1/whoami", [bearer(token)])).status == 200
    assert is_done(await client.revoke(token, by="manager"))
    assert (await client.send("GET", "/sts/api/v1/whoami", [bearer(token)])).status == 401


async def test_gateway_does_not_hand_out_a_revoked_jwt(client: Client) -> None:
    """The JWT that `/sts/verify` keeps for a key is not handed out once it was revoked."""
    handed = [(await client.verify(bearer(client.keys["good"]))).header("authorization") or "" for _ in range(2)]
    token = handed[0].removeprefix("Bearer ")
    assert handed == [f"Bearer {token}"] * 2
    assert is_done(await client.revoke(token))
    answer = await client.verify(bearer(client.keys["good"]))
    assert (answer.status, answer.header("authorization") in handed) == (200, False)


async def test_key_revokes_itself_and_its_jwts(client: Client) -> None:
    """A key that presents itself as the token is revoked for ever, with all it gave."""
    token, good = await client.jwt(), client.keys["good"]
    assert await is_good(client, token)
    assert is_done(await client.revoke(good))
    assert not await is_good(client, token)
    assert (await client.introspect(good)).json() == {"active": False}
    for answer in (await client.token(bearer(good)), await client.verify(bearer(good)), await client.revoke(good)):
        assert answer.status == 401


@pytest.mark.parametrize("state", REFUSED)
async def test_key_that_is_not_good_has_ended_already(client: Client, state: str) -> None:
    """Of a key nobody knows, or that is dead, no more is told than of any token (RFC 7009, 2.2)."""
    assert is_done(await client.revoke(client.keys[state]))


@pytest.mark.parametrize("token", ["x", "a.b.c", "eyJ.eyJ.x", "é" * 40, "eyJ" + "A" * 9_000 + ".e30.c2ln"])
@pytest.mark.parametrize("hint", ["", "access_token", "refresh_token", "nonsense"])
async def test_unknown_token_is_200(client: Client, token: str, hint: str) -> None:
    """A token that is none of ours is revoked as far as anybody can tell; the hint changes nothing."""
    assert is_done(await client.revoke(token, token_type_hint=hint))


async def test_revoked_twice_is_as_good_as_once(client: Client) -> None:
    """Who did not hear the answer asks again."""
    token = await client.jwt()
    assert is_done(await client.revoke(token))
    assert is_done(await client.revoke(token))


async def test_jwt_that_ended_needs_no_revocation(client: Client) -> None:
    """What another server signed, or the same claims under another key, names nothing that we could end."""
    claims = jwt.decode(await client.jwt(), options={"verify_signature": False})
    assert is_done(await client.revoke(jwt.encode({**claims, "exp": int(time.time()) - 1}, "x" * 32, "HS256")))


async def test_store_down_is_503_and_never_a_lie(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A revocation that could not be said is not said to be done: ask again (RFC 7009, 2.2.1)."""
    token = await client.jwt(resource=MCP)

    async def full(*_arguments: object) -> None:
        raise CannotTellError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteChangeLog, "append", full)
        answer = await client.revoke(token)
        assert (answer.status, answer.json()) == (503, {"error": "temporarily_unavailable"})
        assert int(answer.header("retry-after") or 0) > 0
        assert (await client.introspect(token)).json()["active"] is True
    assert is_done(await client.revoke(token))
    assert (await client.introspect(token)).json() == {"active": False}


async def test_no_token_is_an_error(client: Client) -> None:
    """Nothing to revoke is 400; a token in the URL is refused, it ends up in logs."""
    headers = [FORM, bearer(client.keys["good"])]
    assert (await client.send("POST", "/sts/revoke", headers, [b"x=y"])).status == 400
    assert (await client.send("POST", "/sts/revoke", headers, [b"token=x"], query="token=x")).status == 400
    assert (await client.send("POST", "/sts/revoke", headers, [b"token=" + b"a" * 16_384])).status == 413


async def test_revocations_are_audited_without_the_token(client: Client, capfd: pytest.CaptureFixture[str]) -> None:
    """Who ended which JWT stands in the audit log; the JWT itself nowhere."""
    token = await client.jwt()
    await client.revoke(token)
    logged = capfd.readouterr().err
    jti = jwt.decode(token, options={"verify_signature": False})["jti"]
    assert '"event":"jwt_revoked"' in logged
    assert jti in logged
    assert f"key:{key_id(client.keys['good'])}" in logged
    assert token.rsplit(".")[-1] not in logged
