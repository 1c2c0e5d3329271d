"""The README against the code: every setting, every command, every path it names."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer.main
from typer.testing import CliRunner

from bench.results import kept_table
from bench.rows import GROUPS
from keystile.cli.main import app
from keystile.durations import duration_text
from keystile.settings import Settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
_COMMAND = re.compile(r"^(?:\.venv/bin/)?keystile ([a-z][a-z-]*(?: [a-z][a-z-]*)?)", re.MULTILINE)


def test_the_settings_table_is_that_of_the_code() -> None:
    """Every setting stands in the README with its default and meaning, and no other."""
    assert settings_table() in README, f"the table should be:\n{settings_table()}"


def test_what_was_measured_is_what_is_said() -> None:
    """The tables are those of the last runs, and no place is left to be filled."""
    assert kept_table(list(GROUPS)) in README
    assert "<!--" not in README


@pytest.mark.parametrize("command", sorted(set(_COMMAND.findall(README))))
def test_every_command_named_exists_and_shows_an_example(command: str) -> None:
    """Each `keystile …` line of the README is a command whose `--help` has an example."""
    group = typer.main.get_command(app)
    words = command.split()
    for word in words:
        found = getattr(group, "commands", {}).get(word)
        if found is None:
            break
        group = found
    shown = CliRunner().invoke(app, [*words, "--help"])
    assert shown.exit_code == 0, command
    assert "Example:" in shown.output or hasattr(group, "commands"), command


def test_every_file_linked_is_there() -> None:
    """Relative links of the README lead somewhere."""
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def settings_table() -> str:
    """Return the table as it must stand in the README."""
    rows = [
        f"| `KEYSTILE_{name.upper()}` | {_default(field)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows])


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value in ("", ()):
        return "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Enum):
        return f"`{value.value}`"
    return f"`{duration_text(value)}`"
