"""A PostgreSQL server for Keycloak, on the loopback address, with its data in a folder of its own."""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import ClassVar

from stack.errors import StackError
from stack.files import write_private
from stack.keycloak_server import Postgres
from stack.packages import command_path
from stack.ports import LOOPBACK
from stack.processes import Process, inherited_environment, process, still_alive, wait_until
from stack.server import Server

_PACKAGE = "postgresql"
_DEBIANS = Path("/usr/lib/postgresql")
_UNPRIVILEGED = ("postgres", "nobody")
_CONNECTIONS = 250  # a Keycloak takes up to 100


class PostgresServer(Server):
    """PostgreSQL with its data in *directory*; `database` says how Keycloak reaches one of its databases.

    PostgreSQL refuses to run as root. For root it runs as `postgres` or `nobody`, with the one capability it
    needs to come through folders that only root may enter.
    """

    name: ClassVar[str] = "postgresql"
    ready_within: ClassVar[float] = 60
    stop_within: ClassVar[float] = 20
    user: ClassVar[str] = "keycloak"

    def __init__(
        self, directory: Path, *, port: int | None = None, password: str = "", log_path: Path | None = None
    ) -> None:
        super().__init__(port, log_path or directory / "postgresql.log")
        self.directory = directory
        self.password = password or secrets.token_urlsafe(24)

    def database(self, name: str = "postgres") -> Postgres:
        """Return the address of a database; `postgres` is there from the start."""
        return Postgres(f"jdbc:postgresql://{LOOPBACK}:{self.port}/{name}", self.user, self.password)

    def create_database(self, name: str) -> Postgres:
        """Create the empty database *name* and return its address."""
        self.run(f'create database "{name}"')
        return self.database(name)

    def run(self, sql: str, database: str = "postgres") -> str:
        """Run *sql* and return its rows, one a line, columns parted by `|`; a fault is a `StackError`."""
        address = ["-h", LOOPBACK, "-p", str(self.port), "-U", self.user, "-d", database]
        done = subprocess.run(  # noqa: S603 - the caller's own statements
            [str(_programs() / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", *address, "-f", "-"],
            env=inherited_environment() | {"PGPASSWORD": self.password, "PGCONNECT_TIMEOUT": "2"},
            input=sql,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise StackError(f"psql failed: {done.stderr.strip()}")
        return done.stdout

    def members(self) -> list[Process]:
        """Return its processes as they are now; each but the first is in a group of its own."""
        return super().members() + _children(self._running().pid)

    def stop(self) -> None:
        """End it without waiting for its clients to leave, which SIGTERM alone would do."""
        if not self.has_ended():
            os.kill(self._running().pid, signal.SIGINT)
            self.resume()
        super().stop()

    def kill(self) -> None:
        """End it with SIGKILL, and all its children with it."""
        children = [] if self.has_ended() else _children(self._running().pid)
        super().kill()
        _signal_each(still_alive(children), signal.SIGKILL)
        wait_until(lambda: not still_alive(children), self.stop_within)

    def suspend(self) -> None:
        """Freeze it (SIGSTOP), the connections it has included."""
        super().suspend()
        _signal_each(_children(self._running().pid), signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `suspend`."""
        _signal_each(_children(self._running().pid), signal.SIGCONT)
        super().resume()

    def _command(self) -> list[str]:
        data = self.directory.resolve() / "data"
        if not (data / "PG_VERSION").exists():
            self._initialize(data)
        options = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": str(_CONNECTIONS),
        }
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return [*_as_nobody(), str(_programs() / "postgres"), "-D", str(data), *settings]

    def _initialize(self, data: Path) -> None:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(data, _unprivileged_user())
        password_file = self.directory.resolve() / "password"
        write_private(password_file, self.password)
        kind = ["--no-locale", "--encoding=UTF8", "--no-sync", "--auth=scram-sha-256"]
        whose = [f"--username={self.user}", f"--pwfile={password_file}"]
        done = subprocess.run(  # noqa: S603 - our own command
            [*_as_nobody(), str(_programs() / "initdb"), f"--pgdata={data}", *kind, *whose],
            env=inherited_environment(),
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        password_file.unlink()
        if done.returncode:
            raise StackError(f"initdb failed:\n{(done.stdout + done.stderr).strip()}")

    def _is_ready(self) -> bool:
        try:
            return self.run("select 1").strip() == "1"
        except StackError:
            return False


@cache
def _programs() -> Path:
    """Return the folder with initdb, postgres and psql; Debian keeps the first two off PATH."""
    found = _found_programs()
    if not found:
        command_path("pg_ctlcluster", _PACKAGE)  # installs the package when it may, else says what to do
        found = _found_programs()
    if not found:
        raise StackError(f"initdb is missing: apt-get install {_PACKAGE}")
    return found


def _found_programs() -> Path | None:
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    versions = [path.parent for path in _DEBIANS.glob("*/bin/initdb")]
    return max(versions, key=lambda folder: int(folder.parent.name), default=None)


def _as_nobody() -> list[str]:
    """Return the words before a command that make root an unprivileged user; nothing for everybody else."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam(_unprivileged_user())
    capability = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    identity = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return [command_path("setpriv", "util-linux"), *identity, *capability]


def _unprivileged_user() -> str:
    known = {user.pw_name for user in pwd.getpwall()}
    found = next((name for name in _UNPRIVILEGED if name in known), None)
    if not found:
        raise StackError(f"PostgreSQL does not run as root, and there is no user named {' or '.join(_UNPRIVILEGED)}")
    return found


def _children(parent: int) -> list[Process]:
    command = [command_path("ps", "procps"), "-axo", "pid=,ppid="]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - fixed words
    pids = [int(pid) for pid, of in re.findall(r"(\d+) +(\d+)", listing) if int(of) == parent]
    return [found for found in map(process, pids) if found]


def _signal_each(processes: list[Process], signum: signal.Signals) -> None:
    for one in processes:
        with suppress(ProcessLookupError):
            os.kill(one.pid, signum)
