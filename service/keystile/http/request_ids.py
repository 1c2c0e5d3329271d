"""Request ids: what the caller calls its request, if that is harmless, else a name of our own."""

from __future__ import annotations

import re
import secrets
from itertools import count

from keystile.keys import holds_credential

TRACEPARENT = b"traceparent"
_GIVEN = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_TRACE = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class RequestIds:
    """Names requests, for audit lines and answers: by `X-Request-Id`, else by the trace they belong to (W3C)."""

    def __init__(self) -> None:
        self._own = (f"{number:x}" for number in count(secrets.randbits(64)))

    def of(self, given: bytes, trace: str) -> str:
        """Return the caller's name for its request if it is harmless, else one of our own: unique, and no secret."""
        if given and _GIVEN.fullmatch(given) and not holds_credential(given.decode()):
            return given.decode()
        return trace or next(self._own)


def trace_id(traceparent: bytes) -> str:
    """Return the id of the trace that the header names, "" if it names none."""
    match = _TRACE.fullmatch(traceparent) if traceparent else None
    return match[1].decode() if match else ""
