"""`make stack`: a whole deployment in the foreground, or left running until `--stop`."""

from __future__ import annotations

import argparse
import fcntl
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from stack.deployment import Deployment
from stack.errors import StackError
from stack.record import Record
from stack.settings import callers_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_READY = """\
Keystile   {keystile}
MCP        {mcp}
Keycloak   {keycloak}  (realm {realm}, user alice)

In another shell:
  set -a; . {env_file}; set +a
  .venv/bin/keystile keys issue --owner alice --name laptop

{ending}
"""


def main() -> int:
    """Do what the command line says; return the exit code."""
    options = _parser().parse_args()
    directory: Path = options.directory.absolute()
    for signum in _ENDING:
        signal.signal(signum, _interrupt)
    try:
        return _stop(directory) if options.stop else _start(directory, detach=options.detach)
    except StackError as error:
        sys.stderr.write(f"stack: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make stack ARGS=…", description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--detach", action="store_true", help="return when ready and leave everything running")
    what.add_argument("--stop", action="store_true", help="end what --detach left running")
    parser.add_argument("--directory", type=Path, default=Path(".keystile"), help="default: .keystile")
    return parser


def _stop(directory: Path) -> int:
    record = Record.read(_record_path(directory))
    was_running = record.is_running()
    record.end_all()
    (directory / "stack.env").unlink(missing_ok=True)
    sys.stdout.write("The stack is stopped.\n" if was_running else "No stack is running.\n")
    return 0


def _start(directory: Path, *, detach: bool) -> int:
    with _only_one(directory):
        if Record.read(_record_path(directory)).is_running():
            raise StackError("it is running already; make stack ARGS=--stop ends it")
        record = Record(_record_path(directory))
        deployment = Deployment(directory, callers_settings(), record)
        record.add_supervisor()
        sys.stdout.write(
            "Starting Redis, Keycloak, Keystile and its MCP server (the first time takes a minute or two) …\n"
        )
        sys.stdout.flush()
        deployment.start()
        if detach:
            record.forget_supervisor()
            _say_ready(deployment, "It goes on in the background; make stack ARGS=--stop ends it.")
            return 0
        _say_ready(deployment, "Ctrl-C stops it.")
        return _watch(deployment)


def _watch(deployment: Deployment) -> int:
    """Wait for a signal or for the end of a server, whichever comes first, and stop everything."""
    awaited = {signal.SIGCHLD, *_ENDING}
    signal.signal(signal.SIGCHLD, _interrupt)  # never called: some systems drop a signal nobody handles
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    ended: list[str] = []
    while not ended:
        ended = [f"{one.name} (see {one.log_path})" for one in deployment.servers if one.has_ended()]
        if not ended and signal.sigwait(awaited) != signal.SIGCHLD:
            break
    deployment.stop()
    if ended:
        raise StackError(f"ended by itself: {', '.join(ended)}; everything else is stopped")
    return 0


@contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    lock_path = directory / "stack/lock"
    lock_path.parent.mkdir(parents=True, exist_ok=True)
    with lock_path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError("it is running already; make stack ARGS=--stop ends it") from None
        yield


def _say_ready(deployment: Deployment, ending: str) -> None:
    sys.stdout.write(
        _READY.format(
            keystile=deployment.keystile.url,
            mcp=deployment.mcp.url,
            keycloak=deployment.keycloak.url,
            realm=deployment.environment["KEYSTILE_KEYCLOAK_REALM"],
            env_file=deployment.env_file,
            ending=ending,
        )
    )
    sys.stdout.flush()


def _record_path(directory: Path) -> Path:
    return directory / "stack/processes.json"


def _interrupt(_signum: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
