"""One deployment as its users see it: servers, the command line, HTTP, and a ledger of every key it issued."""

from __future__ import annotations

import json
import os
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from stack.keystile_server import KeystileServer, keystile_command
from stack.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

RETRY_FOR = 20.0  # seconds


@dataclass
class World:
    """A Keystile server with its environment, and everybody's keys so far."""

    server: KeystileServer
    environment: dict[str, str]
    folder: Path
    ledger: list[str] = field(default_factory=list)

    @property
    def issuer(self) -> str:
        """The issuer, as configured."""
        return self.environment.get("KEYSTILE_ISSUER") or f"{self.server.url}/sts"

    def cli(self, *arguments: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        """Run `keystile` with *arguments* in the deployment's environment and *more*."""
        return subprocess.run(  # noqa: S603 - our own command
            [keystile_command(), *arguments],
            env=plain_environment() | self.environment | more,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def issue(self, owner: str, name: str = "laptop", *options: str, **more: str) -> dict[str, Any]:
        """Issue a key on the command line and return its document."""
        done = self.cli("keys", "issue", "--owner", owner, "--name", name, *options, "--json", **more)
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        self.ledger.append(document["api_key"])
        return document

    def revoke(self, key_id: str) -> None:
        """Revoke a key on the command line."""
        done = self.cli("keys", "revoke", key_id, "--yes")
        assert done.returncode == 0, done.stderr

    def verify(self, credential: str, *, url: str = "", **headers: str) -> httpx.Response:
        """Ask the gateway's question about a key or JWT."""
        return httpx.get(
            f"{url or self.server.url}/sts/verify", headers={"Authorization": f"Bearer {credential}", **headers}
        )

    def exchange(self, key: Mapping[str, Any], **form: str) -> httpx.Response:
        """Exchange a key for a JWT, as a client with Basic credentials does."""
        return httpx.post(
            f"{self.server.url}/sts/token",
            data={"grant_type": "client_credentials", **form},
            auth=(key["key_id"], key["api_key"]),
        )

    def jwt(self, key: Mapping[str, Any]) -> str:
        """Return a JWT for *key*."""
        answer = self.exchange(key)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def verify_until(
        self, credential: str, status: int, *, meanwhile: tuple[int, ...], url: str = ""
    ) -> httpx.Response:
        """Ask until the answer is *status*; every answer before must be one of *meanwhile*."""
        return until(lambda: self.verify(credential, url=url), lambda answer: answer.status_code == status, meanwhile)


@contextmanager
def embedded_world(folder: Path, port: int = 0, **more: str) -> Iterator[World]:
    """Serve an embedded store in *folder*, with *more* settings."""
    port = port or free_port()
    environment = {
        "KEYSTILE_DATA_DIR": str(folder / "data"),
        "KEYSTILE_PORT": str(port),
        "KEYSTILE_AUDIT_LOG": str(folder / "audit.log"),
        **more,
    }
    with KeystileServer(environment, port=port, log_path=folder / "keystile.log") as server:
        yield World(server, environment, folder)


def until(
    ask: Callable[[], httpx.Response],
    wanted: Callable[[httpx.Response], bool],
    meanwhile: tuple[int, ...],
    seconds: float = RETRY_FOR,
) -> httpx.Response:
    """Ask again and again, as `Retry-After` says, until the answer is the one wanted."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if wanted(answer):
            return answer
        assert answer.status_code in meanwhile, (answer.status_code, answer.text)
        assert time.monotonic() < end, f"still {answer.status_code}"
        time.sleep(min(0.2, float(answer.headers.get("retry-after", "0.05"))))


def plain_environment() -> dict[str, str]:
    """Return this process's environment without anybody's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("KEYSTILE_", "KEYCLOAK_"))}
