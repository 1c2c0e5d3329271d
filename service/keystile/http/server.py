"""Serving on granian: one parent process, its workers, and the application each of them makes."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from granian import Granian
from granian.constants import Interfaces
from granian.http import HTTP1Settings

from keystile.errors import ConfigurationError
from keystile.http.front import DRAIN, Front
from keystile.logs import configure_logs
from keystile.settings import load_settings
from keystile.wiring import check_files

if TYPE_CHECKING:
    from keystile.settings import Settings

_HEADER_TIMEOUT_MS = 10_000  # a client that takes longer to send its headers is cut off
_MAX_BUFFER = 32_768  # bytes of headers and body read ahead
_FREE_PORT = "KEYSTILE_PORT to a free one"
_BACKLOG = 4_096  # connections the kernel holds until one is taken up
_CONNECTIONS = 10_000  # of one worker; idle ones cost little, and must not keep others out
_LAST_WORDS = 15  # seconds a worker may take to finish what it has begun


def create() -> Front:
    """Return a worker's application, from the environment it inherited."""
    configure_logs()
    return Front(load_settings())


def serve(settings: Settings) -> None:
    """Serve until told to stop. Raises `ConfigurationError` if the port is taken."""
    check_port(settings)
    check_files(settings)
    signal.signal(DRAIN, signal.SIG_IGN)  # inherited: a worker that still starts up is not ended by it
    server = Granian(
        "keystile.http.server:create",
        factory=True,
        interface=Interfaces.ASGI,
        address=settings.host,
        port=settings.port,
        workers=settings.workers,
        websockets=False,
        backlog=_BACKLOG,
        backpressure=_CONNECTIONS,
        log_level="warning",  # type: ignore[arg-type]  # granian's enum takes its value
        http1_settings=HTTP1Settings(header_read_timeout=_HEADER_TIMEOUT_MS, max_buffer_size=_MAX_BUFFER),
        workers_kill_timeout=_LAST_WORDS,
        respawn_failed_workers=True,
    )

    parent = os.getpid()
    where = f"{settings.store} store" if settings.keycloak_url else f"embedded store in {settings.data_dir.absolute()}"
    sys.stderr.write(f"keystile serves {settings.issuer} on {settings.host}:{settings.port}, {where}\n")

    def drain(signum: int, frame: object) -> None:
        """Tell the workers that the end is near, and stop them later: balancers see it in `/readyz` meanwhile."""
        if os.getpid() != parent:
            return  # a worker that has no handlers of its own yet
        for worker in server.wrks:
            with suppress(ProcessLookupError, TypeError):  # it just ended, or has no process yet
                os.kill(worker.inner.pid, DRAIN)  # type: ignore[union-attr]  # processes, as we run it
        threading.Timer(settings.drain.total_seconds(), server.signal_handler_interrupt, (signum, frame)).start()

    server.on_startup(lambda: signal.signal(signal.SIGTERM, drain))  # somebody at a keyboard does not wait
    server.serve()


def check_port(settings: Settings) -> None:
    """Raise a `ConfigurationError` if nothing can listen there."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            names = "KEYSTILE_HOST to an address of this machine" if isinstance(error, socket.gaierror) else _FREE_PORT
            where = f"{settings.host}:{settings.port}"
            raise ConfigurationError(f"cannot listen on {where} ({error.strerror}): set {names}") from error
