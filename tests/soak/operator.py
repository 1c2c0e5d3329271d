"""The operator: issues and revokes keys as the command line does, in a process of its own.

The load generator must not share a Python process with it: opening a deployment and hashing would hold it up.
`python -m soak.operator` reads one JSON request a line and answers each with one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from keystile.assembly import now
from keystile.authority.lifecycle import KeyRequest
from keystile.cli.running import settings_for_command
from keystile.errors import KeystileError
from keystile.records import RevocationReason
from keystile.restrictions import Policy
from keystile.wiring import open_deployment
from stack.processes import inherited_environment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

    from keystile.assembly import Deployment

_LEAVES_WITHIN = 20.0  # seconds


class OperatorError(Exception):
    """The operator was refused; the message says why."""


class Operator:
    """The handle on the operator's process; `with` starts and ends it. One request at a time, from any thread."""

    def __init__(self, environment: Mapping[str, str], log_path: Path) -> None:
        inherited = inherited_environment()
        paths = [path for path in (inherited.get("PYTHONPATH"), str(Path(__file__).parents[1])) if path]
        self._environment = {**inherited, **environment, "PYTHONPATH": os.pathsep.join(paths)}
        self._log_path = log_path
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def issue(self, owners: list[str], *, expires_in: float | None = None) -> list[dict[str, Any]]:
        """Issue a key to each of *owners*, as many times as they are named; returns documents with `api_key`."""
        answer = self._ask({"do": "issue", "owners": owners, "expires_in": expires_in})
        keys: list[dict[str, Any]] = answer["keys"]
        return keys

    def revoke(self, key_id: str) -> float:
        """Revoke a key; returns when that was answered (`time.monotonic()`)."""
        return float(self._ask({"do": "revoke", "key_id": key_id})["answered"])

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            process = self._process
            if process is None or process.stdin is None or process.stdout is None:
                raise OperatorError("the operator is not there")
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": f"it ended; see {self._log_path}"}
        if "error" in answer:
            raise OperatorError(answer["error"])
        return answer

    def __enter__(self) -> Self:
        with self._log_path.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "soak.operator"],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            try:
                process.wait(_LEAVES_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def main() -> None:
    """Answer requests until there are no more."""
    settings = settings_for_command()
    for line in sys.stdin:
        request = json.loads(line)

        async def run(request: dict[str, Any] = request) -> dict[str, Any]:
            # Opened anew each time: the command line knows nothing of earlier commands either.
            async with open_deployment(settings) as deployment:
                return await _COMMANDS[request.pop("do")](deployment, **request)

        try:
            answer = asyncio.run(run())
        except KeystileError as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


async def _issue(deployment: Deployment, *, owners: list[str], expires_in: float | None) -> dict[str, Any]:
    async def issue(owner: str) -> dict[str, Any]:
        expires_at = now() + timedelta(seconds=expires_in or 86_400)
        request = KeyRequest(owner=owner, name="soak", issued_by="soak", expires_at=expires_at, policy=Policy())
        issued = await deployment.lifecycle.issue(request)
        left = (issued.record.expires_at or expires_at) - now()
        return {
            "key_id": issued.record.key_id,
            "api_key": issued.key.reveal(),
            "owner": issued.owner.username,
            "owner_id": issued.owner.id,
            "expires_at": time.monotonic() + left.total_seconds(),
        }

    return {"keys": await asyncio.gather(*(issue(owner) for owner in owners))}


async def _revoke(deployment: Deployment, *, key_id: str) -> dict[str, Any]:
    await deployment.lifecycle.revoke(key_id, reason=RevocationReason.UNSPECIFIED, revoked_by="soak")
    return {"answered": time.monotonic()}


_COMMANDS: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {"issue": _issue, "revoke": _revoke}

if __name__ == "__main__":
    main()
