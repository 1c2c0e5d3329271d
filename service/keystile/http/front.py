"""The front: hands each request to a door by its raw path, or to Quart, and opens the deployment for both."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keystile.http.addresses import ClientAddresses
from keystile.http.app import create_app
from keystile.http.asgi import json_answer
from keystile.http.assertions import ClientProof
from keystile.http.doors import BROKEN, Contexts
from keystile.http.forwarding import Forwarding
from keystile.http.gates import make_gates
from keystile.http.introspect_door import IntrospectDoor
from keystile.http.metrics.reading import read
from keystile.http.metrics.workers import open_workers
from keystile.http.revoke_door import RevokeDoor
from keystile.http.token_door import TokenDoor
from keystile.http.tracing import TracedServing
from keystile.http.verify_door import VerifyDoor
from keystile.keys import without_credentials
from keystile.wiring import open_deployment, worker_files

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from quart import Quart

    from keystile.assembly import Deployment
    from keystile.authority.exchange import Exchange
    from keystile.http.asgi import Receive, Scope, Send
    from keystile.http.gates import Gates
    from keystile.http.tracing import Serve
    from keystile.settings import Settings

_log = logging.getLogger(__name__)
_PARENT_IS_LATE = 0.5  # seconds
DRAIN = signal.SIGUSR1  # from the parent process to its workers: the end is near
_NO_PATH = json_answer(400, {"error": "invalid_request"})
_DRAINING = json_answer(503, {"status": "draining"}, (b"retry-after", b"1"))


@dataclass(frozen=True, slots=True)
class Doors:
    """The doors of one deployment."""

    token: TokenDoor
    verify: VerifyDoor
    gates: Gates
    introspect: IntrospectDoor
    revoke: RevokeDoor
    contexts: Contexts
    exchange: Exchange


def make_doors(deployment: Deployment) -> Doors:
    """Return the doors of an opened deployment: all of them ask the same verifier."""
    settings = deployment.settings
    addresses = ClientAddresses(settings.trusted_proxies)

    def contexts_by(convention: str) -> Contexts:
        return Contexts(deployment.rules, addresses, Forwarding(convention, f"{settings.issuer_path}/verify"))

    contexts = contexts_by(settings.forwarded_headers)
    verifier, exchange = deployment.verifier, deployment.exchange
    verify = VerifyDoor(verifier, deployment.jwts, exchange, contexts)
    prove = ClientProof(verifier, deployment.assertions)
    return Doors(
        token=TokenDoor(verifier, exchange, deployment.delegating, contexts, prove),
        verify=verify,
        gates=make_gates(settings, verify, contexts_by),
        introspect=IntrospectDoor(deployment.introspection, prove, contexts),
        revoke=RevokeDoor(prove, deployment.revocation, contexts),
        contexts=contexts,
        exchange=exchange,
    )


class Front:
    """The ASGI application of one worker process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._token_path = f"{settings.issuer_path}/token"
        self._verify_path = f"{settings.issuer_path}/verify"
        self._below_verify = f"{settings.issuer_path}/verify/"
        self._below_gate = f"{settings.issuer_path}/gate/"
        self._introspect_path = f"{settings.issuer_path}/introspect"
        self._revoke_path = f"{settings.issuer_path}/revoke"
        self._doors: Doors | None = None
        self._app: Quart | None = None
        self._answer: Serve = self._serve
        self._draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http" and self._doors is not None and self._app is not None:
            await self._answer(self._doors, self._app, scope, receive, send)

    async def _serve(self, doors: Doors, app: Quart, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if self._draining:
            send = _closing(send)
            if path == "/readyz":
                await _DRAINING.send(send)
                return
        try:
            if path == self._verify_path or path.startswith(self._below_verify):
                await doors.verify(scope, receive, send)
            elif path == self._token_path:
                await doors.token(scope, receive, send)
            elif path.startswith(self._below_gate):
                await doors.gates(scope, receive, send)
            elif path == self._introspect_path:
                await doors.introspect(scope, receive, send)
            elif path == self._revoke_path:
                await doors.revoke(scope, receive, send)
            elif not path.startswith("/"):  # CONNECT names no path
                await _NO_PATH.send(send)
            else:
                await app(scope, receive, send)  # type: ignore[arg-type]  # the same scope by another name
        except Exception:  # noqa: BLE001 - the last handler: a fault of ours is logged and told to nobody
            request_id = doors.contexts.request_id(scope)
            _log.exception("unexpected error at %s in request %s", without_credentials(path), request_id)
            await BROKEN.send(send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with AsyncExitStack() as stack:
            try:
                deployment = await stack.enter_async_context(open_deployment(self._settings, serving=True))
                self._doors = make_doors(deployment)
                files = worker_files(self._settings)
                workers = await stack.enter_async_context(open_workers(lambda: read(deployment), files))
                self._app = create_app(deployment, self._doors, workers)
                if deployment.tracer is not None:
                    self._answer = TracedServing(self._serve, deployment.tracer, self._settings.issuer_path)
            except Exception:  # noqa: BLE001 - the server wants to be told, whatever it is
                _log.exception("start-up failed")
                await send({"type": "lifespan.startup.failed", "message": "see the log"})
                return
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(DRAIN, self.drain)
            loop.add_signal_handler(signal.SIGTERM, self._told_to_end, loop)
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    def _told_to_end(self, loop: asyncio.AbstractEventLoop) -> None:
        """End if the parent says so; whoever tells the whole process group (systemd does) is not the parent.

        Then the parent was told too and comes back after the drain. If there is none any more, this ends by itself.
        """
        if self._draining:
            _end_now()
        else:
            self.drain()
            loop.call_later(self._settings.drain.total_seconds() + _PARENT_IS_LATE, _end_now)

    def drain(self) -> None:
        """Send no more requests here: say so, and close connections as their answers go out."""
        self._draining = True


def _end_now() -> None:
    os.kill(os.getpid(), signal.SIGINT)  # which the server itself handles: what was begun is finished


def _closing(send: Send) -> Send:
    async def closing(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
        await send(message)

    return closing
