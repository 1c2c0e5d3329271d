"""One deployment on a real Keycloak and a durable Redis: any number of Keystile servers, an operator, a console."""

from __future__ import annotations

import secrets
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keystile.peppers import new_pepper
from soak.operator import Operator
from stack import KeycloakServer, KeystileServer, RedisServer
from stack.ports import free_port
from stories.keycloak_world import KeycloakWorld

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The deployment, running."""

    world: KeycloakWorld
    operator: Operator
    servers: tuple[KeystileServer, ...]

    @property
    def ports(self) -> list[int]:
        """Where the servers listen."""
        return [server.port for server in self.servers]

    def set_enabled(self, owner_id: str, *, enabled: bool) -> None:
        """Switch an owner on or off, as the console does."""
        self.world.admin.update_user(owner_id, {"enabled": enabled})


@contextmanager
def open_site(folder: Path, *, servers: int = 1, workers: int = 1, redis_port: int = 0, **more: str) -> Iterator[Site]:
    """Start everything in *folder*, each of the *servers* in a process group of its own, and stop it at the end.

    *more* are further settings.
    """
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(_made(folder / "redis"), port=redis_port or None))
        keycloak = stack.enter_context(KeycloakServer(folder / "keycloak", long_lived=True, heap=768))
        environment = site_environment(folder, workers) | more
        world = KeycloakWorld.prepare(keycloak, redis, folder, environment)
        started = [stack.enter_context(world.server)]
        for number in range(1, servers):
            other = KeystileServer(world.environment, port=free_port(), log_path=folder / f"keystile-{number}.log")
            started.append(stack.enter_context(other))
        operator = stack.enter_context(Operator(world.environment, folder / "operator.log"))
        yield Site(world=world, operator=operator, servers=tuple(started))


def site_environment(folder: Path, workers: int) -> dict[str, str]:
    """Return the settings of such a deployment; its clients' addresses are what `X-Forwarded-For` says."""
    port = free_port()
    return {
        "KEYSTILE_STORE": "keycloak",
        "KEYSTILE_DATA_DIR": str(folder / "data"),
        "KEYSTILE_AUDIT_LOG": str(folder / "audit.log"),
        "KEYSTILE_PORT": str(port),
        "KEYSTILE_WORKERS": str(workers),
        "KEYSTILE_ISSUER": f"http://127.0.0.1:{port}/sts",
        "KEYSTILE_PEPPERS": new_pepper("p1"),
        "KEYSTILE_SIGNING_ALG": "ES256",
        "KEYSTILE_MAX_KEYS_PER_OWNER": "50",
        "KEYSTILE_TRUSTED_PROXIES": "127.0.0.1/32",
        **{f"KEYSTILE_KEYCLOAK_{role}_SECRET": secrets.token_urlsafe(24) for role in ("READER", "WRITER", "TOKENS")},
    }


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
