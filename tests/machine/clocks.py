"""Clocks that go as a test says, for what has no clock to be given."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def pyjwt_by(clock: Callable[[], datetime]) -> Iterator[None]:
    """Let PyJWT judge `iat` and `exp` by *clock*: it asks the machine's own otherwise."""

    class Moment(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:  # noqa: ANN401, ARG003 - as datetime has it
            return clock()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jwt.api_jwt.datetime", Moment)
        yield
