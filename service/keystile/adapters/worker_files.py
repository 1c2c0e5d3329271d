"""Files by which the workers of one server tell each other what they counted: one each, replaced as a whole.

Whoever can write to the folder is not trusted with more than numbers: they can make metrics wrong, and nothing else.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SUFFIX = ".json"
_MOST = 256  # workers of one server
_LARGEST = 262_144  # bytes


class WorkerFiles:
    """A place in *folder* for every worker that runs at the same time; who comes after one that ended goes on there.

    So what was counted is never counted twice nor lost, and there are no more files than there were workers at once.
    The kernel gives a place back however its holder ends. Every method may raise an OSError.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = -1
        self._place = -1
        self._writing = Lock()

    def clear(self) -> None:
        """Forget everything: for a server that starts, before its workers do."""
        if self._folder.is_symlink():
            self._folder.unlink()  # what it leads to is not ours to empty
        elif self._folder.exists():
            shutil.rmtree(self._folder)

    def take(self) -> str:
        """Take the first place that is free, and return what the worker before left there; "" if there was none."""
        for folder in (self._folder.parent, self._folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for place in range(_MOST):
            lock = os.open(self._folder / f"{place}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            self._lock, self._place = lock, place
            return _read(self._file)
        raise OSError(f"all {_MOST} places in {self._folder} are taken")

    def write(self, text: str) -> None:
        """Put *text* into our place, at once for every reader. A power cut may lose it: who starts after it clears."""
        with self._writing:  # whoever waited for a write may have been cancelled, and its thread goes on
            if self._place < 0:
                return
            unfinished = self._folder / f"{self._place}.new"
            unfinished.unlink(missing_ok=True)  # what a killed worker left, or a pipe that nobody reads
            file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(file, "w", encoding="utf-8") as opened:
                opened.write(text)
            unfinished.rename(self._file)

    def others(self) -> list[str]:
        """Return what stands in all other places."""
        files = (path for path in self._folder.iterdir() if path.suffix == _SUFFIX and path != self._file)
        return [_read(path) for path in islice(files, _MOST)]

    def close(self) -> None:
        """Give our place back."""
        with self._writing:
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = self._place = -1

    @property
    def _file(self) -> Path:
        return self._folder / f"{self._place}{_SUFFIX}"


def _read(path: Path) -> str:
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        return ""
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        return ""  # a folder, or a pipe: of none of ours
    with os.fdopen(file, encoding="utf-8", errors="replace") as opened:
        return opened.read(_LARGEST)
