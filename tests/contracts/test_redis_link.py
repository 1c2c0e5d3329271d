"""What the link to Redis promises whatever happens to the server: an answer or a `CannotTellError`, soon."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from keystile.adapters.redis.link import DEADLINE, RedisLink
from keystile.authority.breaker import Breaker
from keystile.errors import CannotTellError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

    from stack import RedisServer

SLACK = 1.5  # for a busy machine; what redis-py waits by itself is 5 s
CROWD = 1000  # one after the other, on the connections there are, they would wait for many deadlines


@asynccontextmanager
async def refused_within(seconds: float) -> AsyncIterator[None]:
    """Expect the calls inside to fail, and soon."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(CannotTellError):
        yield
    assert loop.time() - begun < seconds


@asynccontextmanager
async def linked(url: str) -> AsyncIterator[RedisLink]:
    link = RedisLink.open(url, Breaker("Redis"))
    try:
        yield link
    finally:
        await link.aclose()


async def until_it_answers(link: RedisLink) -> bytes:
    """Ask until the breaker has let a probe through."""
    async with asyncio.timeout(5):
        while True:
            try:
                answer: bytes = await link.command("GET", "name")
            except CannotTellError:
                await asyncio.sleep(0)
            else:
                return answer


async def test_hung_server_costs_one_deadline_then_nothing(own_redis: RedisServer, quick_link: RedisLink) -> None:
    """A frozen Redis is waited for briefly, then not at all, and used again soon after it answers again."""
    await quick_link.command("SET", "name", "value")
    own_redis.suspend()
    for _ in range(3):
        async with refused_within(DEADLINE + SLACK):
            await quick_link.command("GET", "name")
    async with refused_within(DEADLINE + SLACK):
        for _ in range(CROWD):
            with suppress(CannotTellError):
                await quick_link.command("GET", "name")
        await quick_link.command("GET", "name")
    own_redis.resume()
    assert await until_it_answers(quick_link) == b"value"


async def test_crowd_waits_no_longer_than_one(own_redis: RedisServer, quick_link: RedisLink) -> None:
    """Calls beyond the number of connections wait within their own deadline, and none keeps its connection."""
    own_redis.suspend()
    async with refused_within(DEADLINE + SLACK):
        answers = await asyncio.gather(*(quick_link.command("GET", "x") for _ in range(CROWD)), return_exceptions=True)
        assert all(isinstance(answer, CannotTellError) for answer in answers)
        raise answers[0]
    own_redis.resume()
    await until_it_answers(quick_link)
    assert await asyncio.gather(*(quick_link.command("GET", "x") for _ in range(64))) == [None] * 64


async def test_cancelled_call_leaves_no_answer_behind(own_redis: RedisServer, quick_link: RedisLink) -> None:
    """After calls were cancelled or timed out before their answers came, every later call gets its own answer."""
    for name in "abcdef":
        await quick_link.command("SET", name, name)
    own_redis.suspend()
    waiting = [asyncio.create_task(quick_link.command("GET", "a")) for _ in range(5)]
    done, pending = await asyncio.wait(waiting, timeout=DEADLINE / 3)
    assert not done
    for call in pending:
        call.cancel()
    timed_out = await asyncio.gather(quick_link.command("GET", "b"), *pending, return_exceptions=True)
    assert isinstance(timed_out[0], CannotTellError)
    own_redis.resume()
    for _ in range(5):
        answers = await asyncio.gather(*(quick_link.command("GET", name) for name in "abcdef"))
        assert answers == [b"a", b"b", b"c", b"d", b"e", b"f"]


async def test_dead_server_is_refused_at_once_and_used_again(own_redis: RedisServer, quick_link: RedisLink) -> None:
    """A Redis that is gone costs no waiting, and is used again soon after it is back."""
    await quick_link.command("SET", "name", "value")
    await asyncio.to_thread(own_redis.kill)
    for _ in range(5):
        async with refused_within(SLACK):
            await quick_link.command("GET", "name")
    await asyncio.to_thread(own_redis.start)
    assert await until_it_answers(quick_link) == b"value"


async def test_wrong_password_is_out_of_reach(redis_url: str, redis_server: RedisServer) -> None:
    """A Redis that refuses our password is as good as absent, and the error does not tell the password."""
    async with linked(redis_url.replace(redis_server.password, "wrong-password")) as link:
        with pytest.raises(CannotTellError) as caught:
            await link.command("GET", "name")
    assert "wrong-password" not in str(caught.value)


async def test_refusal_is_not_an_outage(link: RedisLink, raw: Redis) -> None:
    """A server that answers with an error is within reach: other calls go on."""
    await raw.rpush("list", "x")
    for _ in range(10):
        with pytest.raises(CannotTellError):
            await link.command("GET", "list")
    assert await link.command("GET", "name") is None


@pytest.mark.parametrize(
    "answer",
    [
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-NOAUTH Authentication required.\r\n",
        b"-MISCONF Redis is configured to save RDB snapshots\r\n",
        b"$5\r\nhal",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$x\r\n",
        b"x" * 100_000,
        b"",
        None,
    ],
)
async def test_any_other_answer_is_no_answer(answer: bytes | None) -> None:
    """Whatever a server sends instead (half an answer, nothing, None: it hangs up) is a `CannotTellError` in time."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer or b"")
        if answer is not None:
            await reader.read()  # until the other side gives up
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, linked(f"redis://127.0.0.1:{port}") as link, refused_within(DEADLINE + SLACK):
        await link.command("GET", "name")


@pytest.mark.parametrize(
    "url",
    [
        "http://:hunter2@localhost",
        "redis+sentinel://:hunter2@localhost:26379",
        "redis+sentinel://:hunter2@localhost:port/name",
        "redis+sentinel://:hunter2@,localhost/name",
        "redis+sentinel://:hunter2@localhost/name/db",
        "redis://:hunter2@localhost:port/0",
        "",
    ],
)
def test_unusable_url_is_a_configuration_error_without_the_password(url: str) -> None:
    """A URL that cannot work is refused with a message that shows the form, not the URL."""
    with pytest.raises(ConfigurationError, match="redis://") as caught:
        RedisLink.open(url, Breaker("Redis"))
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
