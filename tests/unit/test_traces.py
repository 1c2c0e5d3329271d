"""Traces of requests at every door: which steps they tell of, and that they repeat nothing a caller sent."""

from __future__ import annotations

import importlib
import json
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from keystile.adapters.otel import OtelTracer
from keystile.authority.tracing import DECIDE, IN_PROCESS, IN_REDIS, QUERY, SHAPE, STEPS, traced_verifier
from keystile.authority.verifier import Verifier
from keystile.errors import ConfigurationError
from keystile.wiring import check_files
from unit.builders import asked
from unit.gated import ask, gated
from unit.served import MCP, basic, bearer, key_id, serving, settings_in
from unit.test_metrics import REASONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

    from unit.served import Client, Prepared
    from unit.world import World

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = ("traceparent", f"00-{TRACE}-{PARENT}-01")
_NOTED = {"keystile.reason", "keystile.found"}
_HTTP = {"http.request.method", "http.response.status_code"}
_DOORS = {"verify", "token", "gate", "introspect", "revoke", "auth", "api", "jwks.json", "other"}


class Traced:
    """A served front that is traced, and the spans it sent, which are all there once it has ended."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self.exporter = exporter

    @asynccontextmanager
    async def serve(self, prepared: Prepared, folder: Path, **settings: Any) -> AsyncIterator[Client]:  # noqa: ANN401
        """Serve; the store is a copy."""
        async with serving(prepared, folder, traces=True, **settings) as client:
            yield client

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """What was sent, in the order in which it ended."""
        return self.exporter.get_finished_spans()

    def requests(self) -> list[list[tuple[str, Any]]]:
        """Return, of each request, its steps by name and what was found or why not."""
        told = []
        for root in (span for span in self.spans if span.kind is SpanKind.SERVER):
            assert root.context is not None
            steps = [
                span for span in self.spans if span.parent is not None and span.parent.span_id == root.context.span_id
            ]
            told.append([(step.name, _said(step)) for step in sorted(steps, key=lambda step: step.start_time or 0)])
        return told


def _said(span: ReadableSpan) -> Any:  # noqa: ANN401 - an attribute
    attributes = span.attributes or {}
    return attributes.get("keystile.found", attributes.get("keystile.reason"))


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Traced:
    """Have spans kept instead of sent away."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr("keystile.adapters.otel.make_exporter", lambda: exporter)
    return Traced(exporter)


async def test_each_step_is_a_span(traced: Traced, prepared: Prepared, tmp_path: Path) -> None:
    """Who looks at a trace sees how far a key got, and what decided: nothing is told of steps that were not taken."""
    async with traced.serve(prepared, tmp_path) as client:
        for state in ("good", "good", "forged", "revoked", "unknown"):
            await client.verify(bearer(client.keys[state]))
        token = await client.jwt()
        await client.verify(bearer(token))
        await client.send("GET", "/healthz")
        await client.send("GET", "/metrics")
    cold = [(IN_PROCESS, "nothing"), (SHAPE, "good")]
    assert traced.requests() == [
        [*cold, (QUERY, True), (DECIDE, None)],
        [(IN_PROCESS, "standing")],
        [(IN_PROCESS, "nothing"), (SHAPE, "forged")],
        [*cold, (QUERY, True), (DECIDE, "revoked")],
        [*cold, (QUERY, False), ("fallback index", "unknown")],
        [(IN_PROCESS, "standing"), (DECIDE, None)],
        [(QUERY, None), (DECIDE, None)],
    ]
    assert set(STEPS) >= {name for request in traced.requests() for name, _ in request}


async def test_what_is_asked_elsewhere_is_told(world: World) -> None:
    """A process that has read nothing asks Redis; what was found there, or not, is told before what it asks next."""
    exporter = InMemorySpanExporter()
    traced, tracer = Traced(exporter), OtelTracer(exporter, "0")
    issued, other = await world.issue(), await world.start()
    for process in (world.here, other):
        verifier = traced_verifier(process.verifier, tracer)
        with tracer.request("verify", "GET", ""):
            await verifier.verify(issued.key.reveal(), asked())
        await world.settle()
    await tracer.close()
    cold = [(IN_PROCESS, "nothing"), (SHAPE, "good")]
    assert traced.requests() == [
        [*cold, (IN_REDIS, False), (QUERY, True), (DECIDE, None)],
        [*cold, (IN_REDIS, True), (DECIDE, None)],
    ]


async def test_a_gate_of_a_file_tells_the_same_steps(traced: Traced, prepared: Prepared, tmp_path: Path) -> None:
    """Asked for an audience of its own it takes the verify door's steps, and says at which of them it refused."""
    async with gated(prepared, tmp_path, traces=True) as client:
        for gate, state in (("mcp", "good"), ("mcp", "good"), ("admins", "good"), ("mcp", "other")):
            await ask(client, gate, bearer(client.keys[state]))
    cold = [(IN_PROCESS, "nothing"), (SHAPE, "good"), (QUERY, True)]
    assert traced.requests() == [
        [*cold, (DECIDE, None)],
        [(IN_PROCESS, "standing")],
        [(IN_PROCESS, "standing"), (DECIDE, "scope_denied")],
        [*cold, (DECIDE, "audience_denied")],
    ]
    assert {span.name for span in traced.spans if span.kind is SpanKind.SERVER} == {"gate"}


async def test_a_caller_s_trace_is_continued(traced: Traced, prepared: Prepared, tmp_path: Path) -> None:
    """Our spans are parts of the trace the caller began; of one it did not begin properly, or not at all, our own."""
    async with traced.serve(prepared, tmp_path) as client:
        await client.verify(bearer(client.keys["good"]), TRACEPARENT)
        await client.verify(bearer(client.keys["good"]), ("traceparent", "00-zz"))
        await client.verify(bearer(client.keys["good"]))
    first, second, third = (span for span in traced.spans if span.kind is SpanKind.SERVER)
    assert first.parent is not None
    assert f"{first.parent.trace_id:032x}-{first.parent.span_id:016x}" == f"{TRACE}-{PARENT}"
    assert second.parent is third.parent is None
    assert len({span.context.trace_id for span in traced.spans if span.context is not None}) == 3


async def test_a_trace_that_is_not_sampled_stays_so(traced: Traced, prepared: Prepared, tmp_path: Path) -> None:
    """Whoever begins a trace decides whether it is kept."""
    async with traced.serve(prepared, tmp_path) as client:
        await client.verify(bearer(client.keys["good"]), ("traceparent", f"00-{TRACE}-{PARENT}-00"))
    assert traced.spans == ()


async def test_audit_lines_name_the_trace(traced: Traced, prepared: Prepared, tmp_path: Path) -> None:
    """From an audit line one finds the trace, also where the caller has named the request otherwise, and back."""
    log = tmp_path / "audit.log"
    async with traced.serve(prepared, tmp_path / "store", audit_log=log) as client:
        await client.verify(bearer(client.keys["revoked"]))
        await client.verify(bearer(client.keys["suspended"]), TRACEPARENT)
        await client.verify(bearer(client.keys["expired"]), TRACEPARENT, ("X-Request-Id", "r-17"))
    roots = [span for span in traced.spans if span.kind is SpanKind.SERVER]
    ids = [f"{span.context.trace_id:032x}" for span in roots if span.context is not None]
    assert ids[1:] == [TRACE, TRACE]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["request_id"], line.get("trace_id")) for line in lines] == [
        (ids[0], None),
        (TRACE, None),
        ("r-17", TRACE),
    ]


async def ask_everywhere(client: Client, key: str, token: str) -> None:
    """Present a key, and a JWT, in every way there is, at every door, and where they do not belong."""
    for text in (key, token):
        everywhere = [
            ("X-Request-Id", text),
            ("traceparent", text),
            ("tracestate", f"vendor={text}"),
            ("baggage", f"key={text}"),
            ("User-Agent", text),
            ("X-Forwarded-Uri", f"/{text}"),
            ("Cookie", text),
        ]
        for headers in ([bearer(text)], [("X-API-Key", text)], [basic(key_id(text), text)]):
            for path in ("/sts/verify", "/sts/gate/nginx", f"/sts/verify/{text}", f"/{text}", "/sts/api/v1/keys"):
                await client.send("GET", path, [*headers, *everywhere], query=f"key={text}")
                await client.send(text, path, [*headers, TRACEPARENT, everywhere[2]])
            await client.token(*headers, *everywhere)
            await client.send("POST", "/api/v1/api-keys/validate", [*headers, *everywhere])
        await client.token(client_secret=text, scope="read", resource=MCP)
        await client.token(
            grant_type="urn:ietf:params:oauth:grant-type:token-exchange",
            subject_token=text,
            subject_token_type="urn:keystile:token-type:api-key",
        )
        await client.introspect(text, *everywhere)
        await client.send("POST", "/sts/auth/challenge", [bearer(text), *everywhere], [text.encode()])
        await client.revoke(text, by="other")


async def test_no_span_repeats_what_a_caller_sent(traced: Traced, prepared: Prepared, tmp_path: Path) -> None:
    """Keys, JWTs, their parts, paths, queries and headers reach no span, whatever door they come to and however."""
    async with traced.serve(prepared, tmp_path, trusted_proxies=("192.0.2.1/32",)) as client:
        token = await client.jwt("good", resource=MCP, scope="read")
        for state in ("good", "bound", "limited", *REASONS):
            await ask_everywhere(client, client.keys[state], token)
        await client.send("GET", "/sts/verify", [bearer(client.keys["good"]), TRACEPARENT, ("tracestate", "a=canary")])
    assert len(traced.spans) > 1_000
    text = "".join(span.to_json() + repr(span.context) + repr(span.resource.attributes) for span in traced.spans)
    for secret in (token, *token.split("."), *prepared.keys.values()):
        assert secret not in text
    for key in prepared.keys.values():
        parts = [part for part in key.split("_")[2:] if len(part) > 5]  # its id, its secret with its stamp
        assert not any(part in text for part in parts), parts
    for word in ("canary", "vendor", "mcpkey", "owner of", "192.0.2.1", "eyJ", "Basic", "Bearer"):
        assert word not in text
    assert {name for span in traced.spans for name in span.attributes or {}} <= _NOTED | _HTTP
    assert {span.name for span in traced.spans} <= _DOORS | set(STEPS)
    assert all(not span.events and not span.links and not span.status.description for span in traced.spans)
    assert all(not span.context.trace_state for span in traced.spans if span.context is not None)


async def test_faults_are_seen_without_a_word_of_them(
    traced: Traced, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours is an error in the trace; what it says stays in the log."""

    def explode(*_arguments: object) -> None:
        raise RuntimeError("very secret")

    async with traced.serve(prepared, tmp_path) as client:
        monkeypatch.setattr("keystile.http.verify_door.credential_of", explode)
        assert (await client.verify()).status == 500
        assert (await client.verify(path="/sts/gate/nginx")).status == 403  # as nginx can take it
    assert [span.name for span in traced.spans] == ["verify", "gate"]
    for span in traced.spans:
        assert (span.attributes or {})["http.response.status_code"] == 500
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
        assert "secret" not in span.to_json()


async def test_nothing_waits_for_a_collector_at_the_end(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All audit lines are written before the last spans are sent: a server that waits there may be killed."""
    log, written = tmp_path / "audit.log", []

    class Exporter(InMemorySpanExporter):
        def shutdown(self) -> None:
            written.append(log.read_text())

    monkeypatch.setattr("keystile.adapters.otel.make_exporter", Exporter)
    async with serving(prepared, tmp_path / "store", traces=True, audit_log=log) as client:
        await client.verify(bearer(client.keys["forged"]))
    assert [text.count('"forged"') for text in written] == [1]


async def test_who_does_not_trace_pays_nothing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default the plain classes work, and nothing of OpenTelemetry is even loaded."""
    deployment = client.front._app.extensions["deployment"]  # type: ignore[union-attr]  # noqa: SLF001 - what it serves by
    assert type(deployment.verifier) is Verifier
    assert deployment.tracer is None
    assert client.front._answer == client.front._serve  # noqa: SLF001 - same
    for name in [name for name in sys.modules if name.startswith(("opentelemetry", "keystile.adapters.otel"))]:
        monkeypatch.delitem(sys.modules, name)
    assert (await client.verify(bearer(client.keys["good"]))).status == 200
    assert not [name for name in sys.modules if name.startswith("opentelemetry")]


def test_who_wants_traces_without_the_extra_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start ends with the name of what to install, instead of serving untraced."""
    monkeypatch.delitem(sys.modules, "keystile.adapters.otel", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    check_files(settings_in(tmp_path))
    with pytest.raises(ConfigurationError, match=r"keystile\[otel\]"):
        check_files(settings_in(tmp_path, traces=True))
    monkeypatch.undo()
    importlib.import_module("keystile.adapters.otel")
