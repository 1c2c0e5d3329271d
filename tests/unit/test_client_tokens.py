"""The JWT at hand: how long it is used, and who exchanges for a new one."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from keystile.client.errors import UnavailableError
from keystile.client.exchange import Token
from keystile.client.tokens import Tokens

CROWD = 16


class Source:
    """An exchange that waits until it may go on, and counts."""

    def __init__(self, *, open_: bool = True) -> None:
        self.count = 0
        self.now = 0.0
        self.failure: Exception | None = None
        self.may_end = threading.Event()
        if open_:
            self.may_end.set()

    def __call__(self) -> Token:
        """Exchange."""
        self.count += 1
        assert self.may_end.wait(60)
        if self.failure:
            raise self.failure
        return Token(f"jwt{self.count}", self.now + 240.0, {})

    def tokens(self) -> Tokens:
        """Return what keeps its JWTs."""
        return Tokens(self, 60.0, lambda: self.now)


def test_a_jwt_is_used_until_its_moment() -> None:
    """One exchange serves everything until the moment that is set with the JWT, and then there is another."""
    source = Source()
    tokens = source.tokens()
    assert [tokens.get(), tokens.get()] == ["jwt1", "jwt1"]
    source.now = 239.9
    assert tokens.get() == "jwt1"
    source.now = 240.0
    assert tokens.get() == "jwt2"


async def test_a_crowd_of_threads_and_coroutines_costs_one_exchange() -> None:
    """Whoever comes while an exchange runs waits for its end and gets the same JWT."""
    source = Source(open_=False)
    tokens = source.tokens()
    ready = threading.Barrier(CROWD + 1)

    def ask() -> str:
        ready.wait(60)
        return tokens.get()

    with ThreadPoolExecutor(CROWD) as pool:
        threads = [pool.submit(ask) for _ in range(CROWD)]
        coroutines = [asyncio.create_task(tokens.wait()) for _ in range(CROWD)]
        await asyncio.to_thread(ready.wait, 60)
        await asyncio.sleep(0)
        source.may_end.set()
        assert set(await asyncio.gather(*coroutines)) == {"jwt1"}
        assert {thread.result(60) for thread in threads} == {"jwt1"}
    assert source.count == 1


async def test_who_gives_up_ends_nothing_for_others() -> None:
    """A coroutine that is cancelled while it waits leaves the exchange running, though it was the first to ask."""
    source = Source(open_=False)
    tokens = source.tokens()
    first, second = (asyncio.create_task(tokens.wait()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    source.may_end.set()
    assert (await second, source.count) == ("jwt1", 1)


def test_a_refused_jwt_is_used_no_more() -> None:
    """It is replaced once, however many heard the refusal."""
    source = Source()
    tokens = source.tokens()
    old = tokens.get()
    tokens.refuse(old)
    tokens.refuse(old)
    assert [tokens.get(), tokens.get()] == ["jwt2", "jwt2"]
    tokens.refuse(old)  # a late answer to an old request
    assert (tokens.get(), source.count) == ("jwt2", 2)


def test_a_failure_is_everybodys_and_tried_again() -> None:
    """All who waited hear why there is no JWT; the next one asks anew."""
    source = Source()
    source.failure = UnavailableError("away")
    tokens = source.tokens()
    with pytest.raises(UnavailableError, match="away"):
        tokens.get()
    source.failure = None
    assert (tokens.get(), source.count) == ("jwt2", 2)


def test_a_server_that_asks_for_peace_gets_it() -> None:
    """After `Retry-After` nobody asks before that time, but for at most a minute."""
    source = Source()
    source.failure = UnavailableError("busy", retry_after=3600.0)
    tokens = source.tokens()
    heard = []
    for source.now in (0.0, 1.0, 59.9):
        with pytest.raises(UnavailableError, match="busy") as refused:
            tokens.get()
        heard.append((refused.value.retry_after, len(refused.traceback)))
    assert source.count == 1
    assert set(heard) == {(3600.0, len(refused.traceback))}  # each hears it as if alone
    source.failure = None
    source.now = 60.0
    assert tokens.get() == "jwt2"


def test_what_nobody_expected_is_heard_too() -> None:
    """An error that is none of ours ends the wait of whoever waits, and is tried again."""
    source = Source()
    source.failure = ZeroDivisionError()
    tokens = source.tokens()
    with pytest.raises(ZeroDivisionError):
        tokens.get()
    source.failure = None
    assert tokens.get() == "jwt2"


async def test_nobody_waits_for_ever() -> None:
    """An exchange that hangs is given up on by a thread and by a coroutine alike."""
    source = Source(open_=False)
    tokens = Tokens(source, -4.9, lambda: source.now)  # with the slack: 0.1 s
    with pytest.raises(UnavailableError, match="no JWT within"):
        await asyncio.to_thread(tokens.get)
    with pytest.raises(UnavailableError, match="no JWT within"):
        await tokens.wait()
    source.may_end.set()
