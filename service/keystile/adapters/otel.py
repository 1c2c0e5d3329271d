"""Traces by OpenTelemetry, sent by OTLP over HTTP as the standard `OTEL_…` variables say.

The collector is trusted with no secret: spans carry names and attributes of this package alone, a caller's trace id,
and nothing else that a caller sent. Its `tracestate` and baggage could hold anything, so they end here.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import INVALID_SPAN, SpanKind, Status, StatusCode
from opentelemetry.trace import Span as OtelApiSpan
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace.export import SpanExporter

_PREFIX = "keystile."
_FAULT = 500
_told: ContextVar[set[str] | None] = ContextVar("told", default=None)


def make_exporter() -> SpanExporter:
    """Return what sends spans away, as the environment says."""
    return OTLPSpanExporter()


class OtelSpan:
    """See `Span`."""

    def __init__(self, span: OtelApiSpan) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        """See `Span.traceparent`."""
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def note(self, name: str, value: str | int) -> None:
        """See `Span.note`."""
        self._span.set_attribute(_PREFIX + name, value)

    def answered(self, status: int) -> None:
        """See `Span.answered`."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= _FAULT:
            self._span.set_status(Status(StatusCode.ERROR))


class OtelTracer:
    """A `Tracer` of its own provider: nothing else in the process gets traced by it."""

    def __init__(self, exporter: SpanExporter, version: str) -> None:
        resource = Resource({"service.name": "keystile", "service.version": version})
        self._provider = TracerProvider(
            resource=resource.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("keystile", version)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def request(self, door: str, method: str, traceparent: str) -> Iterator[OtelSpan]:
        """See `Tracer.request`."""
        parent = self._propagator.extract({"traceparent": traceparent}, Context())
        token = _told.set(set())
        try:
            with self._span(door, parent, SpanKind.SERVER) as span:
                span.set_attribute("http.request.method", method)
                yield OtelSpan(span)
        finally:
            _told.reset(token)

    @contextmanager
    def step(self, name: str, *, once: bool = False) -> Iterator[OtelSpan]:
        """See `Tracer.step`."""
        told = _told.get()
        if told is None or (once and name in told):  # outside of requests nobody asked
            yield OtelSpan(INVALID_SPAN)
            return
        told.add(name)
        with self._span(name, None, SpanKind.INTERNAL) as span:
            yield OtelSpan(span)

    async def close(self) -> None:
        """Send what is left, and send no more."""
        await asyncio.to_thread(self._provider.shutdown)

    @contextmanager
    def _span(self, name: str, parent: Context | None, kind: SpanKind) -> Iterator[OtelApiSpan]:
        # What an exception says may repeat what a caller sent, so none is ever recorded.
        with self._tracer.start_as_current_span(
            name, parent, kind, record_exception=False, set_status_on_exception=False
        ) as span:
            yield span
