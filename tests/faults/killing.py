"""Commands killed in the middle of what they do."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from stack.keystile_server import keystile_command
from stories.world import plain_environment

if TYPE_CHECKING:
    from collections.abc import Mapping


def run_and_kill(environment: Mapping[str, str], seconds: float, *arguments: str) -> str:
    """Run `keystile` and end it with SIGKILL after *seconds*, if it still runs; return what it printed by then."""
    with subprocess.Popen(  # noqa: S603 - our own command
        [keystile_command(), *arguments],
        env=plain_environment() | dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as command:
        try:
            told, _ = command.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            command.kill()
            told, _ = command.communicate()
    return told
