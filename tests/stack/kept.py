"""What one stack keeps from start to start: its generated secrets and the ports it had."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

from stack.files import write_private
from stack.ports import free_port, is_free

if TYPE_CHECKING:
    from pathlib import Path


class Kept:
    """A JSON file, 0600: made on first use, and never changed but by adding or by a port that was taken."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}

    def secret(self, name: str) -> str:
        """Return the secret *name*: 256 bits in letters, digits, `-` and `_`, safe in a URL and in a shell."""
        if name not in self._values:
            self._keep(name, secrets.token_urlsafe(32))
        return self._values[name]

    def port(self, name: str) -> int:
        """Return the port that *name* had before, or another one if that is taken now."""
        before = int(self._values.get(name, 0))
        if before and is_free(before):
            return before
        self._keep(name, str(free_port()))
        return int(self._values[name])

    def _keep(self, name: str, value: str) -> None:
        self._values[name] = value
        write_private(self._path, json.dumps(self._values, indent=1))
