"""A wall clock for one process, ahead of the machine's or behind it, by libfaketime."""

from __future__ import annotations

import sys
from pathlib import Path

from stack.errors import StackError
from stack.packages import command_path

_PACKAGE = "faketime"


class SteppedClock:
    """The wall clock of whoever runs with `environment`, ahead of the machine's by what `step` said last."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.step(0)

    @property
    def environment(self) -> dict[str, str]:
        """What puts a process under this clock: its monotonic clock stays the machine's."""
        preload = "DYLD_INSERT_LIBRARIES" if sys.platform == "darwin" else "LD_PRELOAD"
        return {
            preload: str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def step(self, seconds: int) -> None:
        """Be so far ahead from now on."""
        fresh = self._file.with_suffix(".fresh")
        fresh.write_text(f"{seconds:+d}\n")
        fresh.replace(self._file)  # never half-written where somebody reads


def _library() -> Path:
    command = Path(command_path("faketime", _PACKAGE))
    found = next(command.resolve().parent.parent.glob("lib/**/libfaketime*.so.1"), None)
    if found is None:
        raise StackError(f"libfaketime is missing: apt-get install {_PACKAGE}")
    return found
