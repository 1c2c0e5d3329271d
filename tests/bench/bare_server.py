"""A server for one of the bare applications."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path
from socket import create_connection
from typing import TYPE_CHECKING, Any, ClassVar

import httpx

from bench.machine import SERVER_CORE, pin
from stack.ports import LOOPBACK
from stack.server import Server

if TYPE_CHECKING:
    from typing import Self

_GRANIANS = frozenset({"server", "date"})


class BareServer(Server):
    """One of the applications of `bench.bare`, as *wanted* describes it, on the server core."""

    name: ClassVar[str] = "bare"
    ready_within: ClassVar[float] = 20
    stop_within: ClassVar[float] = 5

    def __init__(self, folder: Path, **wanted: Any) -> None:  # noqa: ANN401 - JSON
        super().__init__(None, folder / f"bare-{wanted['app']}.log")
        self._file = folder / f"bare-{wanted['app']}-{self.port}.json"
        self._file.write_text(json.dumps(wanted), encoding="utf-8")

    def start(self) -> Self:
        """Start it on the server core."""
        super().start()
        pin(self, SERVER_CORE)
        return self

    def _environment(self) -> dict[str, str]:
        return {"BARE": str(self._file), "PYTHONPATH": str(Path(__file__).parents[1])}

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "bench.bare", str(self.port)]

    def _is_ready(self) -> bool:
        try:
            with closing(create_connection((LOOPBACK, self.port), timeout=1)):
                return True
        except OSError:
            return False


def answer_of(port: int, api_key: str) -> dict[str, str]:
    """Return the headers that Keystile on *port* answers for a key, for a bare application to repeat."""
    url = f"http://{LOOPBACK}:{port}/sts/verify"
    answer = httpx.get(url, headers={"Authorization": f"Bearer {api_key}"}, trust_env=False)
    assert answer.status_code == 200, answer.text
    return {name: value for name, value in answer.headers.items() if name not in _GRANIANS}
