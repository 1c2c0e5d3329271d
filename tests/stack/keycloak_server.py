"""A Keycloak server on the loopback address, with a database and a folder of its own."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from stack.access_log import OPTIONS as ACCESS_LOG_OPTIONS
from stack.access_log import AccessLog
from stack.artefacts import java_home, keycloak_distribution
from stack.errors import StackError
from stack.ports import LOOPBACK, free_port, listener_of
from stack.server import Server, answers_200

if TYPE_CHECKING:
    from pathlib import Path

_SHARED = ("conf", "lib", "providers", "themes", "version.txt")
_MEMORY_URL = "jdbc:h2:mem:keycloakdb;NON_KEYWORDS=VALUE;DB_CLOSE_DELAY=-1"


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL database for Keycloak: *url* is `jdbc:postgresql://host:port/name`."""

    url: str
    user: str
    password: str


class KeycloakServer(Server):
    """Keycloak with its data in *directory*, reached by `url`, `admin_user` and `admin_password`.

    *database*: `dev-file` survives `restart`, `dev-mem` does not. *heap* is in megabytes. A *long_lived* server
    gets Java's optimizing compiler, which costs a third more time to start and pays off after minutes.
    """

    name: ClassVar[str] = "keycloak"
    ready_within: ClassVar[float] = 240
    stop_within: ClassVar[float] = 30
    admin_user: ClassVar[str] = "admin"

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        database: Literal["dev-file", "dev-mem"] | Postgres = "dev-file",
        admin_password: str = "",
        log_path: Path | None = None,
        heap: int = 512,
        long_lived: bool = False,
    ) -> None:
        super().__init__(port, log_path or directory / "keycloak.log")
        self.directory = directory
        self.database = database
        self.admin_password = admin_password or secrets.token_urlsafe(24)
        self.management_port = free_port()
        self._heap = heap
        self._compiler = "" if long_lived else "-XX:TieredStopAtLevel=1"
        self._access_log = AccessLog(directory / "data/log/access.log", self.port)

    @property
    def url(self) -> str:
        """The server's base, without a slash at the end."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def management_url(self) -> str:
        """The base of /health and its like."""
        return f"http://{LOOPBACK}:{self.management_port}"

    @property
    def pid(self) -> int:
        """The Java process that answers HTTP; its parent is a shell script that waits for it."""
        pid = listener_of(self.port, [member.pid for member in self.members()])
        if pid is None:
            raise StackError(f"keycloak does not listen on port {self.port}")
        return pid

    def mark(self) -> int:
        """Return where the requests answered so far end, for `requests_since`."""
        return self._access_log.mark()

    def requests_since(self, mark: int) -> list[str]:
        """Return the requests answered since *mark*, oldest first, as `GET /path?query 200`."""
        return self._access_log.requests_since(mark)

    def _command(self) -> list[str]:
        distribution = keycloak_distribution("postgres" if isinstance(self.database, Postgres) else "dev-file")
        self._share(distribution)
        return [
            str(distribution / "bin/kc.sh"),
            "start",
            "--optimized",
            f"-Dkc.home.dir={self.directory.resolve()}",
            "--cache=local",
            "--http-enabled=true",
            "--hostname-strict=false",
            f"--http-host={LOOPBACK}",
            f"--http-port={self.port}",
            f"--http-management-port={self.management_port}",
            "--log-level=info,io.smallrye.health:error",  # else a line for each look at /health/ready
            *ACCESS_LOG_OPTIONS,
        ]

    def _share(self, distribution: Path) -> None:
        """Make *directory* look like a Keycloak of its own, all but its data a link to the shared one."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for name in _SHARED:
            link = self.directory / name
            link.unlink(missing_ok=True)
            link.symlink_to(distribution / name)

    def _environment(self) -> dict[str, str]:
        return {
            "JAVA_HOME": str(java_home()),
            "JAVA_OPTS_KC_HEAP": f"-Xms64m -Xmx{self._heap}m",
            "JAVA_OPTS_APPEND": self._compiler,
            "KC_BOOTSTRAP_ADMIN_USERNAME": self.admin_user,
            "KC_BOOTSTRAP_ADMIN_PASSWORD": self.admin_password,
            **self._database_environment(),
        }

    def _database_environment(self) -> dict[str, str]:
        match self.database:
            case Postgres(url, user, password):
                return {"KC_DB_URL": url, "KC_DB_USERNAME": user, "KC_DB_PASSWORD": password}
            case "dev-mem":
                return {"KC_DB_URL": _MEMORY_URL}
            case "dev-file":
                return {}

    def _is_ready(self) -> bool:
        return answers_200(self.management_port, "/health/ready")
