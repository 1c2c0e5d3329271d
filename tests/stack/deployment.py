"""One whole deployment in one folder: Redis, Keycloak, the realm, Keystile and an MCP server, in that order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stack.files import write_private
from stack.kept import Kept
from stack.keycloak_server import KeycloakServer
from stack.keystile_server import KeystileServer
from stack.mcp_server import McpServer
from stack.realm import ALICE, ensure_user, set_up_realm
from stack.redis_server import RedisServer
from stack.settings import as_env_file, keystile_port, stack_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stack.record import Record
    from stack.server import Server


class Deployment:
    """The servers of the stack in *directory*, with the settings *given* by the caller; all data survives."""

    def __init__(self, directory: Path, given: Mapping[str, str], record: Record) -> None:
        self.directory = directory
        self.env_file = directory / "stack.env"
        self._given = given
        self._port = keystile_port(given)
        self._record = record
        kept = Kept(directory / "stack/kept.json")
        self.redis = RedisServer(
            directory / "stack/redis",
            port=kept.port("redis_port"),
            password=kept.secret("redis"),
            log_path=directory / "redis.log",
        )
        self.keycloak = KeycloakServer(
            directory / "stack/keycloak",
            port=kept.port("keycloak_port"),
            admin_password=kept.secret("admin"),
            log_path=directory / "keycloak.log",
            long_lived=True,
        )
        settings = stack_settings(given, kept, directory, keycloak_url=self.keycloak.url, redis_url=self.redis.url)
        self.environment = {
            **settings,
            "KEYCLOAK_ADMIN_URL": self.keycloak.url,
            "KEYCLOAK_ADMIN_USER": self.keycloak.admin_user,
            "KEYCLOAK_ADMIN_PASSWORD": self.keycloak.admin_password,
        }
        self.keystile = KeystileServer(settings, port=self._port, log_path=directory / "keystile.log")
        issuer = settings.get("KEYSTILE_ISSUER") or Path(settings["KEYSTILE_ISSUER_FILE"]).read_text().strip()
        self.mcp = McpServer(
            issuer,
            keystile_url=self.keystile.url,
            port=kept.port("mcp_port"),
            key_file=directory / "mcp.key",
            log_path=directory / "mcp.log",
        )
        self.servers: list[Server] = [self.redis, self.keycloak, self.keystile, self.mcp]

    def start(self) -> None:
        """Start everything and write stack.env, or stop what was started and raise."""
        try:
            self._start(self.redis)
            self._start(self.keycloak)
            set_up_realm(self.environment)
            ensure_user(self.environment, ALICE)
            self._start(self.keystile)
            self._start(self.mcp)
            write_private(self.env_file, as_env_file(self._env_values()))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop what runs, last started first."""
        for server in reversed(self.servers):
            server.stop()
        self.env_file.unlink(missing_ok=True)
        self._record.delete()

    def _start(self, server: Server) -> None:
        self._record.add(server.start())

    def _env_values(self) -> dict[str, str]:
        return {
            **self.environment,
            "KEYSTILE_URL": self.keystile.url,
            "KEYSTILE_MCP_URL": self.mcp.url,
            "KEYCLOAK_PID": str(self.keycloak.pid),
            "REDIS_PID": str(self.redis.pid),
            "KEYSTILE_PID": str(self.keystile.pid),
        }
