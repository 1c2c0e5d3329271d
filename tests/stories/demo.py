"""A running `keystile demo`, ended by Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stack.keystile_server import keystile_command
from stack.ports import free_port
from stories.world import plain_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass
class Demo:
    """A running `keystile demo`, and what it printed until it was ready."""

    process: subprocess.Popen[str]
    printed: str
    document: dict[str, Any]


@contextmanager
def running_demo(folder: Path) -> Iterator[Demo]:
    """Run the demo in *folder*, on the same port each time, until the block ends."""
    port_file = folder / "port"
    port = port_file.read_text() if port_file.exists() else str(free_port())
    port_file.write_text(port)
    process = subprocess.Popen(  # noqa: S603 - our own command
        [keystile_command(), "demo"],
        cwd=folder,
        env=plain_environment() | {"KEYSTILE_PORT": port},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        printed = _read_until(process, "Ctrl-C")
        yield Demo(process, printed, json.loads((folder / ".keystile/demo.json").read_text()))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
        watchdog.cancel()
        assert process.stdout is not None
        process.stdout.close()


def _read_until(process: subprocess.Popen[str], word: str) -> str:
    assert process.stdout is not None
    printed = ""
    while word not in printed:
        line = process.stdout.readline()
        assert line, f"it ended after {printed!r}"
        printed += line
    return printed
