"""Traces as a collector gets them from a running server."""

from __future__ import annotations

import gzip
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from stack import KeystileServer
from stack.processes import wait_until
from stories.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

PATIENCE = 30.0  # seconds
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """An OTLP collector that keeps what it gets."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.requests: list[ExportTraceServiceRequest] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                """Keep one batch."""
                body = self.rfile.read(int(self.headers["Content-Length"]))
                body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
                if self.path == "/v1/traces":
                    collector.requests.append(ExportTraceServiceRequest.FromString(body))
                    collector.bodies.append(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    @contextmanager
    def running(self) -> Iterator[Collector]:
        """Listen while the block runs."""
        thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join()

    def spans(self) -> list[Span]:
        """Return all spans so far."""
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def services(self) -> set[str]:
        """Return who sent them."""
        return {
            attribute.value.string_value
            for request in self.requests
            for resource in request.resource_spans
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
        }


def test_a_collector_gets_the_trace_and_no_key(tmp_path: Path) -> None:
    """The standard variables say where to and under which name; what was begun is sent before the server ends."""
    with Collector().running() as collector:
        environment = {
            "KEYSTILE_DATA_DIR": str(tmp_path / "data"),
            "KEYSTILE_TRACES": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_SERVICE_NAME": "keys-of-ours",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        with KeystileServer(environment, log_path=tmp_path / "keystile.log") as server:
            world = World(server, server.environment, tmp_path)
            key = world.issue("alice")
            headers = {"Authorization": f"Bearer {key['api_key']}", "traceparent": f"00-{TRACE}-{PARENT}-01"}
            assert httpx.get(f"{server.url}/sts/verify", headers=headers).status_code == 200
            assert wait_until(lambda: any(span.name == "verify" for span in collector.spans()), PATIENCE)
            assert world.exchange(key).status_code == 200
        assert "token" in {span.name for span in collector.spans()}
    (verify,) = [span for span in collector.spans() if span.name == "verify"]
    assert (verify.trace_id.hex(), verify.parent_span_id.hex()) == (TRACE, PARENT)
    steps = [span.name for span in collector.spans() if span.parent_span_id == verify.span_id]
    assert sorted(steps) == ["decide", "query of the directory", "shape and stamp", "verdict in process"]
    assert collector.services() == {"keys-of-ours"}
    sent = b"".join(collector.bodies)
    assert not any(part.encode() in sent for part in key["api_key"].split("_")[2:])
