"""Verification with a span for each of its steps; used only where somebody traces, so nobody else pays for it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keystile.authority.jwts import JwtVerifier
from keystile.authority.lookup import Lookup
from keystile.authority.verifier import Verifier
from keystile.errors import CannotTellError, KeyRefusedError
from keystile.keys import ApiKey, KeyFormat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystile.authority.lookup import Found
    from keystile.errors import Reason
    from keystile.policy import RequestContext
    from keystile.ports import Cached, Span, Tracer
    from keystile.verdicts import Known, Verdict

SHAPE = "shape and stamp"
IN_PROCESS = "verdict in process"
IN_REDIS = "verdict in Redis"
QUERY = "query of the directory"
INDEX = "fallback index"
DECIDE = "decide"
STEPS = (SHAPE, IN_PROCESS, IN_REDIS, QUERY, INDEX, DECIDE)


@contextmanager
def _step(tracer: Tracer, name: str, *, once: bool = False) -> Iterator[Span]:
    with tracer.step(name, once=once) as span:
        try:
            yield span
        except KeyRefusedError as refusal:
            span.note("reason", refusal.reason.value)
            raise
        except CannotTellError:
            span.note("reason", "cannot_tell")  # what it says is for the audit log
            raise


class TracedFormat(KeyFormat):
    """A `KeyFormat` that tells when it reads a key. Nothing of the key is told."""

    def __init__(self, plain: KeyFormat, tracer: Tracer) -> None:
        vars(self).update(vars(plain))  # the same format, told
        self._tracer = tracer

    def read(self, presented: str, name: bytes | None = None) -> ApiKey | Reason:
        """See `KeyFormat.read`."""
        with _step(self._tracer, SHAPE) as span:
            read = super().read(presented, name)
            span.note("reason", "good" if isinstance(read, ApiKey) else read.value)
            return read


class TracedLookup(Lookup):
    """A `Lookup` that tells when it asks the directory, and when the index."""

    def __init__(self, plain: Lookup, tracer: Tracer) -> None:
        vars(self).update(vars(plain))
        self._tracer = tracer

    async def find(self, key: ApiKey) -> Found | None:
        """See `Lookup.find`."""
        with _step(self._tracer, QUERY) as span:
            found = await super().find(key)
            span.note("found", found is not None)
            return found

    async def find_unnamed(self, key: ApiKey, address: str) -> Found:
        """See `Lookup.find_unnamed`."""
        with _step(self._tracer, INDEX):
            return await super().find_unnamed(key, address)


@dataclass(frozen=True, kw_only=True)
class TracedVerifier(Verifier):
    """A `Verifier` that tells of its steps."""

    tracer: Tracer

    def standing(self, name: bytes | None) -> Known | None:
        """See `Verifier.standing`. A door looks before it asks: only the first look of a request is told."""
        with _step(self.tracer, IN_PROCESS, once=True) as span:
            known = super().standing(name)
            kept = known is not None or self.known(name) is not None
            span.note("found", ("standing" if known else "to be judged") if kept else "nothing")
            return known

    def judge(self, verdict: Verdict, context: RequestContext) -> None:
        """See `Verifier.judge`."""
        with _step(self.tracer, DECIDE):
            super().judge(verdict, context)

    def _check_asked(self, verdict: Verdict, context: RequestContext) -> None:
        with _step(self.tracer, DECIDE):
            super()._check_asked(verdict, context)

    async def _cached(self, key: ApiKey) -> Cached:
        if self.far is self.near:
            return await super()._cached(key)
        with _step(self.tracer, IN_REDIS) as span:
            cached = await super()._cached(key)
            span.note("found", cached.verdict is not None)
            return cached


@dataclass(frozen=True, kw_only=True)
class TracedJwtVerifier(JwtVerifier):
    """A `JwtVerifier` that tells when it reads a record; that it decides, its verifier tells."""

    tracer: Tracer

    async def _read(self, key_id: str, owner_id: str, context: RequestContext) -> Verdict:
        with _step(self.tracer, QUERY):
            return await super()._read(key_id, owner_id, context)


def traced_verifier(plain: Verifier, tracer: Tracer) -> Verifier:
    """Return what verifies as *plain* does, and tells *tracer*."""
    parts = {"format": TracedFormat(plain.format, tracer), "lookup": TracedLookup(plain.lookup, tracer)}
    return TracedVerifier(**{**vars(plain), **parts}, tracer=tracer)


def traced_jwts(plain: JwtVerifier, tracer: Tracer) -> JwtVerifier:
    """Return what verifies JWTs as *plain* does, and tells *tracer*."""
    return TracedJwtVerifier(**vars(plain), tracer=tracer)
