"""One more process of the deployment, whose wire to Redis can be silenced."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from stack import KeystileServer
from stack.ports import free_port
from stack.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from soak.deployment import Site


@contextmanager
def cut_server(site: Site, folder: Path) -> Iterator[tuple[KeystileServer, Proxy]]:
    """Start that process, and return it with the wire."""
    redis = site.world.redis
    with Proxy(redis.port) as wire:
        url = f"redis://:{redis.password}@127.0.0.1:{wire.port}/0"
        environment = site.world.environment | {"KEYSTILE_REDIS_URL": url}
        with KeystileServer(environment, port=free_port(), log_path=folder / "keystile-cut.log") as server:
            yield server, wire
