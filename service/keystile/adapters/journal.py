"""The journal: deaths of keys kept on this machine's disk until directory and log know of them.

One file per key in a folder of its own, written whole or not at all, on disk before it counts. Whoever can write to the
folder is not trusted: a file without our MAC is told of and left alone, and any file can only end a key.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from keystile.changes import Change, sign, unsign
from keystile.errors import CannotTellError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from keystile.peppers import Peppers

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

_SUFFIX = ".death"
_LOCK = "lock"
_MOST = 10_000  # files: more than anybody revokes during an outage


class FileJournal:
    """The `Journal` in *folder*, which all processes on one data folder share. *alert* is told of foreign files."""

    def __init__(self, folder: Path, peppers: Peppers, *, alert: Callable[[str], None]) -> None:
        self._folder = folder
        self._peppers = peppers
        self._alert = alert
        self._foreign: set[str] = set()

    async def add(self, change: Change) -> None:
        """See `Journal.add`."""
        await _in_thread(self._add, change)

    async def entries(self) -> tuple[Change, ...]:
        """See `Journal.entries`."""
        return await _in_thread(self._entries)

    async def remove(self, change: Change) -> None:
        """See `Journal.remove`."""
        await _in_thread(self._remove, change)

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """See `Journal.turn`: the kernel gives the lock back however its holder ends."""
        if not self._folder.exists():
            yield False
            return
        try:
            lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise CannotTellError(f"the journal in {self._folder} cannot be locked: {error.strerror}") from error
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(lock)

    def _add(self, change: Change) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / f"{change.key_id}{_SUFFIX}"
        unfinished = path.with_suffix(f".{os.getpid()}")
        try:
            file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                self._give_to_owner(file)
                os.write(file, sign(change, self._peppers).encode())
                os.fsync(file)
            finally:
                os.close(file)
            unfinished.rename(path)
        finally:
            with suppress(FileNotFoundError):
                unfinished.unlink()
        self._sync_folder()

    def _give_to_owner(self, file: int) -> None:
        # An operator who is root must not leave behind what the server's own user cannot read.
        if os.geteuid() == 0:
            folder = self._folder.parent.stat()
            os.fchown(file, folder.st_uid, folder.st_gid)
            os.chown(self._folder, folder.st_uid, folder.st_gid)

    def _entries(self) -> tuple[Change, ...]:
        try:
            names = sorted(entry.name for entry in os.scandir(self._folder) if entry.name.endswith(_SUFFIX))
        except FileNotFoundError:
            return ()
        read = [self._read(name) for name in names[:_MOST]]
        return tuple(change for change in read if change is not None)

    def _read(self, name: str) -> Change | None:
        try:
            text = (self._folder / name).read_text(encoding="ascii")
        except FileNotFoundError:
            return None  # somebody finished it meanwhile
        except UnicodeDecodeError:
            text = ""
        change = unsign(Change, text, self._peppers)
        if change is not None and change.key_id == name.removesuffix(_SUFFIX):
            return change
        if name not in self._foreign and len(self._foreign) < _MOST:
            self._foreign.add(name)
            self._alert(f"the journal holds a file that is not ours: {name}")
        return None

    def _remove(self, change: Change) -> None:
        (self._folder / f"{change.key_id}{_SUFFIX}").unlink(missing_ok=True)
        self._sync_folder()

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


async def _in_thread(
    work: Callable[Arguments, Answer], *arguments: Arguments.args, **named: Arguments.kwargs
) -> Answer:
    try:
        return await asyncio.to_thread(work, *arguments, **named)
    except OSError as error:
        raise CannotTellError(f"the journal failed: {error.strerror}") from error
