"""What Debian packages: found where it belongs, installed when root, else named with the command that installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from stack.errors import StackError


@cache
def command_path(command: str, package: str) -> str:
    """Return the path of *command*; as root on Debian, install *package* first if it is missing."""
    if not shutil.which(command) and os.geteuid() == 0 and shutil.which("apt-get"):
        _install(package)
    path = shutil.which(command)
    if not path:
        raise StackError(f"{command} is missing: apt-get install {package}")
    return path


@cache
def debian_file(path: str, package: str) -> str:
    """Return *path*, a file that *package* brings; as root on Debian, install it first if it is missing."""
    if not Path(path).exists() and os.geteuid() == 0 and shutil.which("apt-get"):
        _install(package)
    if not Path(path).exists():
        raise StackError(f"{path} is missing: apt-get install {package}")
    return path


def _install(package: str) -> None:
    for words in (("update", "-qq"), ("install", "-qqy", "--no-install-recommends", package)):
        subprocess.run(  # noqa: S603 - fixed words; whether it worked shows on PATH
            ["apt-get", *words],  # noqa: S607 - wherever the system keeps it
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=False,
        )
