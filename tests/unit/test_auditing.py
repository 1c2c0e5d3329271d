from __future__ import annotations

import json
import sys
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, NoReturn

import pytest

from keystile.adapters.audit import JsonLinesAuditLog
from keystile.authority.auditing import Auditor
from keystile.authority.counts import CANNOT_TELL, TOO_MANY_FAILURES
from keystile.changes import Position
from keystile.errors import CannotTellError, ConfigurationError, KeyRefusedError, Reason, TooManyFailuresError
from keystile.ports import AuditEvent
from keystile.verdicts import Verdict
from unit.builders import a_record, an_owner, asked
from unit.watched import KeptAudit, Time

if TYPE_CHECKING:
    from pathlib import Path

VERDICT = Verdict(record=a_record(), owner=an_owner(), position=Position("a", 1), read_at=0.0)

_FLOODS = (Reason.MALFORMED, Reason.FORGED, Reason.JWT_INVALID, Reason.NONCE_REFUSED)


@pytest.fixture
def log() -> KeptAudit:
    return KeptAudit()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def auditor(log: KeptAudit, time: Time) -> Auditor:
    return Auditor(log, ticks=time.ticks)


def test_successes_of_a_key_are_one_line_a_minute(auditor: Auditor, log: KeptAudit, time: Time) -> None:
    """A key used a thousand times is one line; all of them are counted."""
    for _ in range(1_000):
        auditor.accepted(VERDICT, asked(request_id="r1"))
    time.passed = 59.9
    auditor.accepted(VERDICT, asked())
    assert len(log.events) == 1
    time.passed = 60.0
    auditor.accepted(VERDICT, asked())
    assert len(log.events) == 2
    assert auditor.counts.accepted == 1_002
    (event, _) = log.events
    assert (event.event, event.outcome, event.key_id, event.owner) == (
        "exchange",
        "accepted",
        a_record().key_id,
        "alice",
    )
    assert (event.address, event.request_id, event.detail) == ("192.0.2.1", "r1", {"door": "token"})


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason not in _FLOODS])
def test_every_other_refusal_is_a_line(auditor: Auditor, log: KeptAudit, reason: Reason) -> None:
    """A refusal names its reason, its key and who asked."""
    for _ in range(2):
        auditor.refused(KeyRefusedError(reason, key_id="k", owner="alice"), asked(request_id="r1"))
    assert [(event.outcome, event.reason, event.key_id) for event in log.events] == [("refused", reason.value, "k")] * 2
    assert auditor.counts.outcomes == Counter({("refused", reason.value): 2})


def test_alarming_refusals_have_a_word_of_their_own(auditor: Auditor, log: KeptAudit) -> None:
    """Whoever watches the log can look for these events by name."""
    for reason in (Reason.REVOKED, Reason.DUPLICATE, Reason.UNREADABLE, Reason.UNKNOWN):
        auditor.refused(KeyRefusedError(reason), asked())
    events = [event.event for event in log.events]
    assert events == ["revoked_key_used", "duplicate_key_id", "unreadable_record", "exchange"]


def test_whatever_nobody_could_decide_on_is_a_line_a_second_that_says_why(auditor: Auditor, log: KeptAudit) -> None:
    """Outside, every 503 looks the same; inside, an operator reads what was away, and how many met it."""
    for _ in range(3):
        auditor.unanswered(CannotTellError("Keycloak answered 500"), asked())
    auditor.unanswered(TooManyFailuresError(9), asked())
    assert not log.events
    auditor.flush()
    auditor.flush()
    assert [(event.outcome, event.reason, event.count, event.detail) for event in log.events] == [
        ("unanswered", "Keycloak answered 500", 3, {"door": "token"}),
        ("unanswered", "too many failed look-ups from this address", 1, {"door": "token"}),
    ]
    assert auditor.counts.outcomes == Counter({CANNOT_TELL: 3, TOO_MANY_FAILURES: 1})


def test_malformed_and_forged_are_summed_up(auditor: Auditor, log: KeptAudit) -> None:
    """A flood is one line per address and reason, with a count, and begins anew after it was written."""
    for number in range(300):
        reason = Reason.FORGED if number % 3 else Reason.MALFORMED
        auditor.refused(KeyRefusedError(reason), asked(address="198.51.100.1"))
    assert log.events == []
    auditor.flush()
    assert {(event.reason, event.address, event.count) for event in log.events} == {
        ("malformed", "198.51.100.1", 100),
        ("forged", "198.51.100.1", 200),
    }
    auditor.flush()
    assert len(log.events) == 2


def test_flood_from_everywhere_is_bounded(auditor: Auditor, log: KeptAudit) -> None:
    """A flood from a million addresses does not fill memory or log; its size is told all the same."""
    for number in range(5_000):
        auditor.refused(KeyRefusedError(Reason.FORGED), asked(address=f"2001:db8::{number:x}"))
    auditor.flush()
    assert len(log.events) <= 1_001
    assert sum(event.count or 0 for event in log.events) == 5_000
    assert auditor.counts.outcomes == Counter({("refused", "forged"): 5_000})


def test_alert_is_a_line_and_a_count(auditor: Auditor, log: KeptAudit) -> None:
    """Something wrong with the deployment is seen by who reads logs and by who reads metrics."""
    auditor.alert("the canary is not found")
    assert [(event.event, event.reason) for event in log.events] == [("alert", "the canary is not found")]
    assert auditor.counts.alerts == 1


def test_line_is_one_json_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line holds the moment and what is known, nothing that is not, and cannot be broken by what it tells."""
    audit = JsonLinesAuditLog(tmp_path / "audit.log")
    owner = 'eve\n{"event":"fake"}\u2028'
    audit.record(AuditEvent(event="exchange", outcome="refused", owner=owner, detail={"door": "d"}))
    audit.close()
    (line,) = (tmp_path / "audit.log").read_text().splitlines()
    document = json.loads(line)
    assert datetime.fromisoformat(document.pop("at")).tzinfo is not None
    assert document == {"event": "exchange", "outcome": "refused", "owner": owner, "door": "d"}
    assert capsys.readouterr().err == line + "\n"


def test_audit_file_is_appended_to_and_private(tmp_path: Path) -> None:
    """Several processes share one file; nobody else reads it."""
    path = tmp_path / "audit.log"
    for _ in range(2):
        first, second = JsonLinesAuditLog(path), JsonLinesAuditLog(path)
        for audit in (first, second):
            audit.record(AuditEvent(event="e", outcome="o"))
            audit.close()
    assert len(path.read_text().splitlines()) == 4
    assert path.stat().st_mode & 0o777 == 0o600


def test_lost_line_is_counted_and_never_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, or nobody reading standard error, must not stop a revocation."""
    audit = JsonLinesAuditLog(tmp_path / "audit.log")

    def full(*_arguments: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("keystile.adapters.audit.os.write", full)
    audit.record(AuditEvent(event="key_revoked", outcome="done"))
    assert audit.lost == 1
    monkeypatch.setattr(sys.stderr, "write", full)
    audit.record(AuditEvent(event="key_revoked", outcome="done"))
    assert audit.lost == 2
    audit.close()


def test_closed_standard_error_is_no_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without standard error the file still gets its line."""
    audit = JsonLinesAuditLog(tmp_path / "audit.log")
    closed = (tmp_path / "stderr").open("w")
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    audit.record(AuditEvent(event="key_revoked", outcome="done"))
    audit.close()
    assert "key_revoked" in (tmp_path / "audit.log").read_text()


def test_audit_file_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    """Whoever wants audit lines in a file hears at once that there will be none."""
    with pytest.raises(ConfigurationError, match="audit"):
        JsonLinesAuditLog(tmp_path / "nowhere" / "audit.log")
