"""What Debian packages: found where it belongs, installed when root, else named with the command that installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from stack.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable


@cache
def command_path(command: str, package: str) -> str:
    """Return the path of *command*; as root on Debian, install *package* first if it is missing."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"  # servers are there, and users do not look there
    return _found(lambda: shutil.which(command, path=path), command, package)


@cache
def debian_file(path: str, package: str) -> str:
    """Return *path*, a file that *package* brings, in the same way."""
    return _found(lambda: path if Path(path).exists() else None, path, package)


def _found(look: Callable[[], str | None], what: str, package: str) -> str:
    if not look() and os.geteuid() == 0 and shutil.which("apt-get"):
        _install(package)
    found = look()
    if not found:
        raise StackError(f"{what} is missing: apt-get install {package}")
    return found


def _install(package: str) -> None:
    for words in (("update", "-qq"), ("install", "-qqy", "--no-install-recommends", package)):
        subprocess.run(  # noqa: S603 - fixed words; whether it worked shows on PATH
            ["apt-get", *words],  # noqa: S607 - wherever the system keeps it
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=False,
        )
