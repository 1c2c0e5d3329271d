"""One span per request, by its door: continuing the caller's trace, and repeating nothing else that it sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keystile.http.asgi import header
from keystile.http.gates import TRUE_STATUS
from keystile.http.request_ids import TRACEPARENT, trace_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from quart import Quart

    from keystile.http.asgi import Receive, Scope, Send
    from keystile.http.front import Doors
    from keystile.ports import Span, Tracer

    Serve = Callable[[Doors, Quart, Scope, Receive, Send], Awaitable[None]]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_UNTRACED = frozenset({"/healthz", "/readyz", "/metrics"})
_DOORS = ("verify", "token", "gate", "introspect", "revoke", "auth", "api", "jwks.json")


class TracedServing:
    """Serves as *serve* does, in a span."""

    def __init__(self, serve: Serve, tracer: Tracer, base: str) -> None:
        self._serve = serve
        self._tracer = tracer
        self._base = f"{base}/"

    async def __call__(self, doors: Doors, app: Quart, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["path"] in _UNTRACED:
            await self._serve(doors, app, scope, receive, send)
            return
        given = header(scope, TRACEPARENT) or b""
        parent = given.decode() if trace_id(given) else ""
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        with self._tracer.request(self._door(scope["path"]), method, parent) as span:
            # Whoever reads the headers further in finds this trace, continued or begun: the audit log will name it.
            ours = (TRACEPARENT, span.traceparent.encode())
            scope = {**scope, "headers": [ours, *scope["headers"]]}
            await self._serve(doors, app, scope, receive, _noting(send, span))

    def _door(self, path: str) -> str:
        """Return the door a path leads to: a path may hold anything, a door is one of few words."""
        name = path.removeprefix(self._base).partition("/")[0] if path.startswith(self._base) else ""
        return name if name in _DOORS else "other"


def _noting(send: Send, span: Span) -> Send:
    async def noting(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            # A gate for nginx says 403 for what is a fault, and beside it what it is.
            told = dict(message["headers"]).get(TRUE_STATUS)
            span.answered(int(told or message["status"]))
        await send(message)

    return noting
