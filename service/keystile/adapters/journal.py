"""The journal: deaths of keys kept on this machine's disk until directory and log know of them.

One file per key in a folder of its own, written whole or not at all, on disk before it counts. Whoever can write to the
folder is not trusted: they can take a death away or keep it from being obeyed, and never add one without a pepper.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from keystile.adapters.secret_files import sync_folder
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
_LARGEST = 8_192  # bytes
_MOST = 10_000  # files: more than anybody revokes during an outage


class FileJournal:
    """The `Journal` in *folder*, which all processes on one data folder share. *alert* is told of foreign files."""

    def __init__(self, folder: Path, peppers: Peppers, *, alert: Callable[[str], None]) -> None:
        self._folder = folder
        self._peppers = peppers
        self._alert = alert
        self._told: set[str] = set()

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
            with self._opened() as folder:
                lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=folder)
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

    @contextmanager
    def _opened(self) -> Iterator[int]:
        # An operator may be root, and the folder is the server's own user's: no link in it or in its place is followed.
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            yield folder
        finally:
            os.close(folder)

    def _add(self, change: Change) -> None:
        if not self._folder.exists():
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            sync_folder(self._folder.parent)
        name, unfinished = f"{change.key_id}{_SUFFIX}", secrets.token_hex(8)
        with self._opened() as folder:
            self._give_to_owner(folder)
            file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
            try:
                with os.fdopen(file, "wb") as opened:
                    self._give_to_owner(file)
                    opened.write(sign(change, self._peppers).encode())
                    opened.flush()
                    os.fsync(file)
                os.rename(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                os.unlink(unfinished, dir_fd=folder)
                raise
            os.fsync(folder)

    def _give_to_owner(self, opened: int) -> None:
        # An operator who is root must not leave behind what the server's own user cannot read.
        if os.geteuid() == 0:
            owner = self._folder.parent.stat()
            os.fchown(opened, owner.st_uid, owner.st_gid)

    def _entries(self) -> tuple[Change, ...]:
        try:
            with self._opened() as folder:
                names = sorted(name for name in os.listdir(folder) if name.endswith(_SUFFIX))  # noqa: PTH208 - an opened one
                if len(names) > _MOST:
                    self._tell(f"the journal holds {len(names)} files, of which {_MOST} are read")
                read = [self._read(name, folder) for name in names[:_MOST]]
        except FileNotFoundError:
            return ()
        return tuple(change for change in read if change is not None)

    def _read(self, name: str, folder: int) -> Change | None:
        try:
            file = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW, dir_fd=folder)
            try:
                change = unsign(Change, os.read(file, _LARGEST).decode("ascii"), self._peppers)
            finally:
                os.close(file)
        except FileNotFoundError:
            return None  # somebody finished it meanwhile
        except (OSError, UnicodeDecodeError):  # a folder, a pipe, somebody else's: one of them must not hide the others
            change = None
        if change is not None and change.key_id == name.removesuffix(_SUFFIX):
            return change
        self._tell(f"the journal holds a file that is not ours: {name}")
        return None

    def _tell(self, what: str) -> None:
        if what not in self._told and len(self._told) < _MOST:
            self._told.add(what)
            self._alert(what)

    def _remove(self, change: Change) -> None:
        with self._opened() as folder:
            with suppress(FileNotFoundError):
                os.unlink(f"{change.key_id}{_SUFFIX}", dir_fd=folder)
            os.fsync(folder)


async def _in_thread(
    work: Callable[Arguments, Answer], *arguments: Arguments.args, **named: Arguments.kwargs
) -> Answer:
    try:
        return await asyncio.to_thread(work, *arguments, **named)
    except OSError as error:
        raise CannotTellError(f"the journal failed: {error.strerror}") from error
