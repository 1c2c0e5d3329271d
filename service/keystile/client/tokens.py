"""The JWT at hand: used for most of its life, and renewed by one exchange at a time."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from copy import copy
from typing import TYPE_CHECKING, Union

from keystile.client.errors import KeystileClientError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystile.client.exchange import Token

Outcome = Union["Token", KeystileClientError]
_LONGEST_HOLD = 60.0  # seconds without a question, after `Retry-After`
_SLACK = 5.0  # seconds: an exchange ends by itself, but a name server may hold it up


class Tokens:
    """Gives the JWT of the last *exchange* to any thread and any event loop, and makes the next one when it must.

    What is kept is the exchange itself, running or done. Whoever needs a JWT while it runs waits for its end, and hears
    the same: also of a failure, for as long as the server asked to be left alone. It runs in a thread of its own, so
    that nobody who gives up waiting ends it for the others.
    """

    def __init__(
        self, exchange: Callable[[], Token], patience: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._exchange = exchange
        self._patience = patience + _SLACK
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: Future[Outcome] | None = None
        self._held_until = 0.0
        self._refused = ""

    def get(self) -> str:
        """Return the JWT for now, or raise a `KeystileClientError`."""
        try:
            return _text_of(self._join().result(self._patience))
        except TimeoutError:
            raise self._too_slow() from None

    async def wait(self) -> str:
        """Return the same as `get`, to a coroutine."""
        try:
            return _text_of(await asyncio.wait_for(asyncio.wrap_future(self._join()), self._patience))
        except TimeoutError:
            raise self._too_slow() from None

    def refuse(self, text: str) -> None:
        """Use this JWT no more: a resource server refused it."""
        self._refused = text

    def _join(self) -> Future[Outcome]:
        with self._lock:
            if self._kept is None or not self._is_good(self._kept):
                flight: Future[Outcome] = Future()
                flight.set_running_or_notify_cancel()  # from now on, who waits for it cannot cancel it
                threading.Thread(target=self._fly, args=(flight,), name="keystile-exchange", daemon=True).start()
                self._kept = flight
            return self._kept

    def _is_good(self, kept: Future[Outcome]) -> bool:
        if not kept.done():
            return True
        outcome = kept.exception() or kept.result()
        if isinstance(outcome, BaseException):
            return self._clock() < self._held_until
        return outcome.text != self._refused and self._clock() < outcome.used_until

    def _fly(self, flight: Future[Outcome]) -> None:
        try:
            flight.set_result(self._exchange())
        except KeystileClientError as error:
            asked = error.retry_after if isinstance(error, UnavailableError) else None
            self._held_until = self._clock() + min(asked or 0.0, _LONGEST_HOLD)
            # What reports errors shows the variables of their frames, and those of an exchange hold the key.
            flight.set_result(error.with_traceback(None))
        except BaseException as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it is
            flight.set_exception(error)

    def _too_slow(self) -> UnavailableError:
        return UnavailableError(f"no JWT within {self._patience:.0f} s")


def _text_of(outcome: Outcome) -> str:
    if isinstance(outcome, KeystileClientError):
        raise copy(outcome)  # not itself: it would gather the frames of everybody who raises it
    return outcome.text
