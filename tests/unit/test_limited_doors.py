"""Limits as a caller sees them: the same count behind every door, told in headers, refused with 429."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from unit.served import MCP, Prepared, bearer, key_id, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from unit.served import Answered, Client

    Ask = Callable[[Client], Awaitable[Answered]]

MONTHLY = "small:-/-/5/-"  # by the month: no test runs at the end of many
POLICY = re.compile(r'"small-month";q=5;w=(2419200|2505600|2592000|2678400)')
LEFT = re.compile(r'"small-month";r=(\d+);t=(\d+)')


@pytest.fixture
async def limited(prepared: Prepared, tmp_path: Path) -> AsyncIterator[Client]:
    """Serve keys that may all be used five times a month."""
    async with serving(prepared, tmp_path, levels=MONTHLY, default_level="small") as opened:
        yield opened


async def by_key(client: Client) -> Answered:
    return await client.verify(bearer(client.keys["good"]))


async def by_token(client: Client) -> Answered:
    return await client.token(bearer(client.keys["good"]))


async def by_validate(client: Client) -> Answered:
    return await client.send("POST", "/api/v1/api-keys/validate", [("X-API-Key", client.keys["good"])])


def left(answer: Answered) -> int:
    """Return how many requests the answer says are left."""
    assert POLICY.fullmatch(answer.header("ratelimit-policy") or "")
    match = LEFT.fullmatch(answer.header("ratelimit") or "")
    assert match
    assert 0 < int(match[2]) <= 2_678_400
    return int(match[1])


@pytest.mark.parametrize("ask", [by_key, by_token, by_validate], ids=["verify", "token", "validate"])
async def test_every_door_counts_down_and_then_refuses(limited: Client, ask: Ask) -> None:
    """Five requests are answered, each with what is left; the sixth gets 429, why, and when to come again."""
    for rest in (4, 3, 2, 1, 0):
        answer = await ask(limited)
        assert (answer.status, left(answer)) == (200, rest)
    refused = await ask(limited)
    assert refused.status == 429
    assert refused.json() == {"error": "quota_exceeded", "error_description": "the limit small-month is used up"}
    assert left(refused) == 0
    assert 0 < int(refused.header("retry-after") or 0) <= 2_678_400
    assert refused.header("cache-control") == "no-store"


async def test_doors_count_together_and_so_do_jwts(limited: Client) -> None:
    """A JWT presented again and again is counted like the key it was made from."""
    token = (await by_token(limited)).json()["access_token"]
    assert left(await limited.verify(bearer(token))) == 3
    assert left(await limited.verify(bearer(token))) == 2
    assert left(await by_key(limited)) == 1
    assert left(await by_validate(limited)) == 0
    statuses = [(await limited.verify(bearer(token))).status, (await by_key(limited)).status]
    assert [*statuses, (await by_token(limited)).status] == [429, 429, 429]
    assert (await limited.verify(bearer(limited.keys["other"]))).status == 200


async def test_every_method_and_path_counts(limited: Client) -> None:
    """HEAD and sub-paths are requests like others; HEAD is refused without a body."""
    key = bearer(limited.keys["good"])
    for method in ("HEAD", "POST", "OPTIONS", "GET", "DELETE"):
        assert (await limited.verify(key, method=method, path=f"/sts/verify/{method}")).status == 200
    refused = await limited.verify(key, method="HEAD")
    assert (refused.status, refused.body) == (429, b"")


async def test_refused_requests_spend_nothing(limited: Client) -> None:
    """What is wrong with a request is said before it is counted."""
    for _ in range(10):
        assert (await limited.token(bearer(limited.keys["good"]), scope="admin")).status == 400
        assert (await limited.token(bearer(limited.keys["good"]), resource=f"{MCP}/other")).status == 400
        assert (await limited.token(bearer(limited.keys["good"]), client_id="somebody")).status == 401
    assert left(await by_key(limited)) == 4


async def test_other_refusals_look_as_ever(limited: Client) -> None:
    """Who does not hold a good key learns nothing of limits."""
    answers = [await limited.verify(bearer(limited.keys[state])) for state in ("revoked", "unknown", "forged")]
    assert {(answer.status, answer.body, answer.headers) for answer in answers} == {
        (401, b'{"error":"invalid_token"}', answers[0].headers)
    }
    assert answers[0].header("ratelimit") is None


async def test_a_key_without_limits_is_told_of_none(client: Client) -> None:
    """By default nothing is counted, and no header says that it is."""
    for ask in (by_key, by_token, by_validate, by_key):
        answer = await ask(client)
        assert answer.status == 200
        assert (answer.header("ratelimit"), answer.header("ratelimit-policy")) == (None, None)


async def test_limits_in_metrics_and_audit(prepared: Prepared, tmp_path: Path) -> None:
    """Refusals by a limit are in the scrape by their reason, and in the audit log once, with the limit's name."""
    log = tmp_path / "audit.log"
    settings: dict[str, Any] = {"levels": MONTHLY, "default_level": "small", "audit_log": log}
    async with serving(prepared, tmp_path, **settings) as client:
        statuses = Counter([(await by_key(client)).status for _ in range(9)])
        scraped = (await client.send("GET", "/metrics")).body.decode()
        good = key_id(client.keys["good"])
    assert statuses == {200: 5, 429: 4}
    assert 'keystile_verifications_total{outcome="limited",reason="quota_exceeded"} 4.0' in scraped
    assert 'keystile_verifications_total{outcome="accepted",reason="none"} 5.0' in scraped
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (line,) = [line for line in lines if line.get("reason") == "quota_exceeded"]
    assert (line["key_id"], line["outcome"], line["limit"]) == (good, "refused", "small-month")


async def test_counts_survive_a_restart(prepared: Prepared, tmp_path: Path) -> None:
    """What was used is kept on disk; at most the lease of the process that ended is lost."""
    settings: dict[str, Any] = {"levels": MONTHLY, "default_level": "small"}
    async with serving(prepared, tmp_path / "first", **settings) as client:
        for _ in range(3):
            await by_key(client)
    moved = Prepared(tmp_path / "first", prepared.keys)
    async with serving(moved, tmp_path / "second", **settings) as client:
        assert [(await by_key(client)).status for _ in range(3)] == [200, 200, 429]
