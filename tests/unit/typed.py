"""The command line as a person types it, on an embedded store of the test's own."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stack.keystile_server import keystile_command
from stories.world import plain_environment

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Shell:
    """Runs `keystile` on the store in *folder*; *environment* holds what else is set."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        """Run `keystile` with *words*, and *typed* on its standard input."""
        return subprocess.run(  # noqa: S603 - our own command
            [keystile_command(), *words],
            env=plain_environment()
            | {"KEYSTILE_DATA_DIR": str(self.folder / "data"), "COLUMNS": "200"}
            | self.environment,
            input=typed,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def says(self, *words: str, typed: str = "") -> str:
        """Return what a command that succeeds prints."""
        done = self.run(*words, typed=typed)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *words: str) -> Any:  # noqa: ANN401 - JSON
        """Return the one document of a command that succeeds."""
        return json.loads(self.says(*words, "--json"))

    def refusal(self, *words: str, typed: str = "") -> str:
        """Return why a command does not do what it is told to: the last line on standard error."""
        done = self.run(*words, typed=typed)
        assert done.returncode != 0, done.stdout
        return done.stderr.strip().splitlines()[-1]

    def issue(self, *words: str, owner: str = "alice") -> Any:  # noqa: ANN401 - JSON
        """Issue a key."""
        return self.json("keys", "issue", "--owner", owner, "--name", "laptop", *words)
