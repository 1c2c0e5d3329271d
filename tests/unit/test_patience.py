"""Patience with clients that send slowly: ended in time, told from a cancellation, and nobody else's wait."""

from __future__ import annotations

import asyncio

import pytest

from keystile.errors import RequestError
from keystile.http.asgi import read_body
from keystile.http.patience import Patience

BRIEF = 0.05  # seconds
FOR_EVER = 3600.0


async def never() -> None:
    await asyncio.Event().wait()


async def test_what_takes_too_long_is_ended() -> None:
    """Each wait is ended, those that came later too, and its task goes on as if nothing had been cancelled."""
    patience = Patience(BRIEF)

    async def give_up() -> int:
        with pytest.raises(TimeoutError):
            await patience.wait(never())
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    async with asyncio.timeout(30):
        assert await asyncio.gather(*(give_up() for _ in range(3))) == [0, 0, 0]
        assert await give_up() == 0


async def test_what_comes_in_time_is_returned() -> None:
    """A wait that ends by itself leaves nothing behind that could end a later one of the same task."""
    patience = Patience(BRIEF)
    for number in range(3):
        assert await patience.wait(asyncio.sleep(0, number)) == number
    await asyncio.sleep(3 * BRIEF)
    with pytest.raises(LookupError):
        await patience.wait(_failing())


async def _failing() -> None:
    raise LookupError


async def test_cancellation_from_outside_stays_one() -> None:
    """The server that ends a request, because its client went away, is not taken for our own clock."""
    patience = Patience(FOR_EVER)
    waiting = asyncio.create_task(patience.wait(never()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_every_loop_has_its_timer() -> None:
    """A loop that was closed under its waits takes no timer with it."""
    patience = Patience(BRIEF)

    async def leave() -> None:
        asyncio.create_task(patience.wait(never()))  # noqa: RUF006 - it is to be cancelled with its loop
        await asyncio.sleep(0)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await patience.wait(never())

    asyncio.run(leave())
    asyncio.run(asyncio.wait_for(give_up(), 30))


async def test_body_that_does_not_come_is_a_408(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that began to send, and never goes on, is told so and let go."""
    monkeypatch.setattr("keystile.http.asgi._PATIENCE", Patience(BRIEF))

    async def receive() -> dict[str, object]:
        await never()
        return {}

    answer = await asyncio.wait_for(_refused(receive), 30)
    assert answer == 408


async def _refused(receive: object) -> int:
    with pytest.raises(RequestError) as refused:
        await read_body({"headers": [(b"content-length", b"9")]}, receive)  # type: ignore[arg-type]
    return refused.value.status
