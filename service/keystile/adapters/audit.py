"""The audit log: one JSON line per event, to standard error and to a file where one is set."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from keystile.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from keystile.ports import AuditEvent


class JsonLinesAuditLog:
    """Writes whole lines with O_APPEND, so that several processes may share one file (0600)."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.lost = 0
        self._file = -1 if path is None else _open(path)

    def record(self, event: AuditEvent) -> None:
        """See `AuditLog.record`."""
        line = (json.dumps(_document(event), separators=(",", ":"), default=str) + "\n").encode()
        said = _say(line.decode())
        if self._file < 0:
            self.lost += not said
            return
        try:
            os.write(self._file, line)
        except OSError as error:  # a full disk must not stop a revocation; the loss is counted and said
            self.lost += 1
            _say(f"audit line not written to {self._path}: {error.strerror}\n")

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigurationError(f"the audit log {path} cannot be opened: {error.strerror}") from error


def _say(text: str) -> bool:
    try:
        sys.stderr.write(text)
    except (OSError, ValueError):  # nobody reads it any more
        return False
    return True


def _document(event: AuditEvent) -> dict[str, object]:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    fields = {name: getattr(event, name) for name in event.__dataclass_fields__ if name != "detail"}
    return {"at": at, **{name: value for name, value in fields.items() if value is not None}, **event.detail}
