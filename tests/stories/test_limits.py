"""Limits on real servers: many processes, many requests at once, and never one too many."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import httpx

from stack import KeystileServer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stories.world import World

AT_ONCE = 50


async def ask(urls: Sequence[str], credentials: Sequence[str], times: int) -> list[httpx.Response]:
    """Ask every server so often about each credential, all at once."""
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=None), timeout=30) as client:
        requests = [
            client.get(f"{url}/sts/verify", headers={"Authorization": f"Bearer {credential}"})
            for _ in range(times)
            for url in urls
            for credential in credentials
        ]
        return await asyncio.gather(*requests)


def statuses(answers: Sequence[httpx.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


def test_two_processes_never_exceed_a_limit_by_one(embedded: World) -> None:
    """Two servers answer fifty requests each at once: exactly the limit succeeds, and afterwards nothing does."""
    limit = 40
    environment = embedded.environment | {
        "KEYSTILE_ISSUER": embedded.issuer,
        "KEYSTILE_LEVELS": f"tiny:-/-/{limit}/-",
        "KEYSTILE_DEFAULT_LEVEL": "tiny",
    }
    keys = [embedded.issue("alice", name, "--expires", "never") for name in ("laptop", "ci")]
    log = embedded.folder / "limited.log"
    with (
        KeystileServer(environment, log_path=log) as one,
        KeystileServer(environment, log_path=log.with_name("other.log")) as other,
    ):
        urls = (one.url, other.url)
        answers = asyncio.run(ask(urls, [keys[0]["api_key"]], AT_ONCE))
        assert statuses(answers) == {200: limit, 429: 2 * AT_ONCE - limit}
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.json()["error"] == "quota_exceeded"
        assert int(refused.headers["retry-after"]) > 0
        assert refused.headers["ratelimit"].startswith('"tiny-month";r=0;t=')
        texts = [key["api_key"] for key in keys]  # the other key of the owner shares the level
        assert statuses(asyncio.run(ask(urls, texts, 5))) == {429: 20}
        assert statuses([embedded.verify(embedded.issue("bob")["api_key"], url=one.url)]) == {200: 1}


def test_a_jwt_reused_by_two_processes_is_counted(embedded: World) -> None:
    """Key and JWT spend one limit, wherever they are presented."""
    environment = embedded.environment | {
        "KEYSTILE_ISSUER": embedded.issuer,
        "KEYSTILE_LEVELS": "tiny:-/-/20/-",
        "KEYSTILE_DEFAULT_LEVEL": "tiny",
    }
    key = embedded.issue("alice")
    token = embedded.jwt(key)  # of the server that limits nothing
    with KeystileServer(environment, log_path=embedded.folder / "limited.log") as limited:
        answers = asyncio.run(ask([limited.url], [token, key["api_key"]], AT_ONCE))
        assert statuses(answers) == {200: 20, 429: 2 * AT_ONCE - 20}
    assert embedded.verify(token).status_code == 200
