"""What is shipped beside the code: the image, and what descriptions of deployments have in common."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer.main
from typer.core import TyperGroup

from keystile.cli.main import app as command_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = [
    line.partition(" ")
    for line in (ROOT / "service/Dockerfile").read_text().replace("\\\n", "").splitlines()
    if line and not line.startswith("#")
]
SECRET_NAME = re.compile(r"SECRET|PASSWORD|PEPPER|REDIS_URL|TOKEN")


def set_environment(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def instructions(word: str) -> list[str]:
    return [rest.strip() for name, _, rest in DOCKERFILE if name == word]


def image_environment() -> dict[str, str]:
    final_stage = instructions("ENV")[-1]
    return dict(item.split("=", 1) for item in final_stage.split())


def understood(words: list[str]) -> bool:
    """Tell whether the command line knows this command and all its options."""
    command: Any = typer.main.get_command(command_line)
    while isinstance(command, TyperGroup) and words:
        name, *words = words
        command = command.commands.get(name)
    if command is None or isinstance(command, TyperGroup):
        return False
    known = {option for parameter in command.params for option in parameter.opts}
    return {word for word in words if word.startswith("-")} <= known
