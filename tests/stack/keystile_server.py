"""`keystile serve` with a given environment, on a port of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from stack.errors import StackError
from stack.ports import LOOPBACK
from stack.server import Server, answers_200

if TYPE_CHECKING:
    from collections.abc import Mapping


class KeystileServer(Server):
    """Keystile with the settings in *environment* and no others; *port* wins over `KEYSTILE_PORT` in it."""

    name: ClassVar[str] = "keystile"
    ready_within: ClassVar[float] = 60
    stop_within: ClassVar[float] = 20

    def __init__(self, environment: Mapping[str, str], *, log_path: Path, port: int | None = None) -> None:
        super().__init__(port, log_path)
        self.environment = {**environment, "KEYSTILE_PORT": str(self.port)}

    @property
    def url(self) -> str:
        """The base of its addresses, without a slash at the end."""
        return f"http://{LOOPBACK}:{self.port}"

    def _environment(self) -> dict[str, str]:
        return self.environment

    def _command(self) -> list[str]:
        return [keystile_command(), "serve"]

    def _is_ready(self) -> bool:
        return answers_200(self.port, "/readyz")


def keystile_command() -> str:
    """Return the path of the `keystile` command that was installed beside this Python."""
    path = Path(sys.executable).with_name("keystile")
    if not path.exists():
        raise StackError("keystile is not installed in this environment: make .venv/project")
    return str(path)
