"""What every audit log promises."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keystile.adapters.audit import JsonLinesAuditLog
from keystile.ports import AuditEvent

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture
def log(path: Path) -> Iterator[JsonLinesAuditLog]:
    log = JsonLinesAuditLog(path)
    yield log
    log.close()


def test_an_event_is_one_json_line(log: JsonLinesAuditLog, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line holds the moment, what is known and nothing that is not, in the file and on standard error."""
    log.record(AuditEvent(event="key_issued", outcome="done", key_id="k", detail={"name": "a\nb"}))
    line = path.read_text()
    assert line.count("\n") == 1
    document = json.loads(line)
    assert document.pop("at").endswith("+00:00")
    assert document == {"event": "key_issued", "outcome": "done", "key_id": "k", "name": "a\nb"}
    assert capsys.readouterr().err == line


def test_only_its_owner_reads_it(log: JsonLinesAuditLog, path: Path) -> None:
    """The file is made 0600."""
    log.record(AuditEvent(event="x", outcome="y"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_processes_share_a_file(log: JsonLinesAuditLog, path: Path) -> None:
    """Lines of two writers stand one after the other, whole."""
    other = JsonLinesAuditLog(path)
    for number in range(50):
        (log if number % 2 else other).record(AuditEvent(event="x", outcome="y", count=number))
    other.close()
    assert [json.loads(line)["count"] for line in path.read_text().splitlines()] == list(range(50))


def test_a_line_that_cannot_be_written_is_counted_not_raised(capsys: pytest.CaptureFixture[str]) -> None:
    """A full disk stops no revocation: the loss is counted, and said on standard error."""
    log = JsonLinesAuditLog(Path("/dev/full"))
    log.record(AuditEvent(event="x", outcome="y"))
    log.close()
    assert log.lost == 1
    assert "not written" in capsys.readouterr().err
