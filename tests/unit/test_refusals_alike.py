from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from unit.served import REFUSED, Answered, basic, bearer, key_id

if TYPE_CHECKING:
    from unit.served import Client


def shown(answer: Answered) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
    """Return everything of an answer that a caller can see."""
    return answer.status, tuple(sorted(answer.headers)), answer.body


async def ask(client: Client, door: str, key: str) -> Answered:
    if door == "token by Basic":
        return await client.token(basic(key_id(key), key))
    if door == "token by body":
        return await client.token(client_id=key_id(key), client_secret=key)
    if door == "token by bearer":
        return await client.token(bearer(key))
    if door == "verify":
        return await client.verify(bearer(key))
    return await client.send("POST", "/api/v1/api-keys/validate", [("X-API-Key", key)])


DOORS = {
    "token by Basic": 401,
    "token by body": 401,
    "token by bearer": 401,
    "verify": 401,
    "validate": 401,
}


@pytest.mark.parametrize("door", DOORS)
async def test_every_refusal_looks_the_same(client: Client, door: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is wrong with a key, status, headers and body are the same bytes; only the audit log knows why."""
    answers = {reason: await ask(client, door, client.keys[reason]) for reason in REFUSED}
    assert len({shown(answer) for answer in answers.values()}) == 1
    assert {answer.status for answer in answers.values()} == {DOORS[door]}
    good = await ask(client, door, client.keys["good"])
    assert good.status == 200
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    audited = {line["reason"] for line in lines if line["outcome"] == "refused"}
    assert set(REFUSED) - {"malformed", "forged"} <= audited  # those two are summed up, a second later


@pytest.mark.parametrize("door", DOORS)
async def test_same_refusal_twice_looks_the_same(client: Client, door: str) -> None:
    """A refusal from memory cannot be told from the first one."""
    for reason in REFUSED:
        first, second = [await ask(client, door, client.keys[reason]) for _ in range(2)]
        assert shown(first) == shown(second)


@pytest.mark.parametrize("door", DOORS)
async def test_no_answer_and_no_audit_line_shows_a_key(
    client: Client, door: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither an answer nor what is written about it holds what was presented."""
    answers = [await ask(client, door, client.keys[reason]) for reason in (*REFUSED, "good")]
    written = capsys.readouterr().err
    for reason in (*REFUSED, "good"):
        secret = client.keys[reason][-20:]
        assert secret not in written
        assert not any(secret in str(shown(answer)) for answer in answers)


async def test_only_the_holder_of_the_secret_hears_more(client: Client) -> None:
    """A proved key that asks for too much is told so; a wrong one that asks for the same is not."""
    good = await client.token(bearer(client.keys["good"]), scope="admin")
    wrong = await client.token(bearer(client.keys["wrong_secret"]), scope="admin")
    revoked = await client.token(bearer(client.keys["revoked"]), scope="admin")
    assert good.json()["error"] == "invalid_scope"
    assert wrong.json() == revoked.json() == {"error": "invalid_client"}


async def test_revoked_key_that_is_used_is_an_alarm(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody still uses it, or it leaked: the audit log has its own word for that."""
    await client.verify(bearer(client.keys["revoked"]))
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines() if "revoked_key_used" in line]
    assert (line["reason"], line["key_id"], line["address"]) == (
        "revoked",
        key_id(client.keys["revoked"]),
        "192.0.2.1",
    )
