"""A Redis server as durable as Keystile asks for: every write is on disk before it is answered."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, ClassVar

from redis import Redis, RedisError

from stack.files import write_private
from stack.packages import command_path
from stack.ports import LOOPBACK
from stack.server import Server

if TYPE_CHECKING:
    from pathlib import Path

# Replication and snapshots have no place here: the append-only file is the whole store.
_CONFIGURATION = """\
bind {host}
port {port}
dir "{directory}"
requirepass {password}
daemonize no
logfile ""
appendonly yes
appendfsync always
maxmemory-policy noeviction
save ""
"""


class RedisServer(Server):
    """Redis on 127.0.0.1 with its data in *directory*; *url* holds the *password* (made up unless given)."""

    name: ClassVar[str] = "redis"
    ready_within: ClassVar[float] = 20
    stop_within: ClassVar[float] = 10

    def __init__(
        self, directory: Path, *, port: int | None = None, password: str = "", log_path: Path | None = None
    ) -> None:
        super().__init__(port, log_path or directory / "redis.log")
        self.directory = directory
        self.password = password or secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        """The address of database 0, password included."""
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    def _command(self) -> list[str]:
        # In a file, not in the arguments: those are for everybody on the machine to read.
        configuration = self.directory / "redis.conf"
        write_private(
            configuration,
            _CONFIGURATION.format(
                host=LOOPBACK, port=self.port, directory=self.directory.resolve(), password=self.password
            ),
        )
        return [command_path("redis-server", "redis-server"), str(configuration)]

    def _is_ready(self) -> bool:
        try:
            with Redis.from_url(self.url, socket_timeout=1, socket_connect_timeout=1) as client:
                return bool(client.ping())
        except RedisError:
            return False
