"""What doctor says of keys and peppers, and of an embedded store; a live deployment is broken in tests/stories."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

import pytest

from keystile.authority.key_survey import KeySurvey
from keystile.cli.key_findings import survey_findings
from keystile.cli.peppers import weak
from keystile.peppers import Pepper, Peppers, new_pepper
from keystile.records import RevocationReason, Unreadable
from keystile.settings import load_settings
from stack import KeystileServer
from stack.ports import free_port
from unit.builders import NOW, a_record, an_owner
from unit.typed import Shell

if TYPE_CHECKING:
    from pathlib import Path

    from keystile.records import Owner

OLDER = Unreadable("key:old1:" + "b" * 60, "old1")


def surveyed(*owners: Owner, hashes_count: bool = True) -> KeySurvey:
    survey = KeySurvey()
    for owner in owners:
        survey.see(owner, NOW, hashes_count=hashes_count)
    return survey


def test_one_id_at_two_owners_is_a_double() -> None:
    """Found by records and by look-up values; an owner that comes twice is one, and the dead harm nobody."""
    record = a_record(key_id="aaaaaaaaaaaa")
    alice, mallory = an_owner(record, id="1", username="alice"), an_owner(record, id="2", username="mallory")
    assert surveyed(alice, alice).doubles() == {}
    assert surveyed(mallory, alice).doubles() == {record.key_id: ["alice", "mallory"]}
    finder = an_owner(id="2", username="mallory", lookups=frozenset({record.key_id}))
    assert surveyed(alice, finder).doubles() == {record.key_id: ["alice", "mallory"]}
    dead = an_owner(record.revoked(NOW, RevocationReason.UNSPECIFIED, 1), id="1", username="alice")
    assert surveyed(dead, finder).doubles() == {}


def test_a_few_doubles_are_named_and_the_rest_counted() -> None:
    """Of many the first five are told, and how many more there are."""
    records = [a_record(key_id=f"{number:012}") for number in range(8)]
    survey = surveyed(an_owner(*records, id="1"), an_owner(*records, id="2"))
    wrong = [found.what for found in survey_findings(survey, load_settings()) if not found.ok]
    assert len(wrong) == 6
    assert wrong[-1] == "3 more key ids are at two owners"


def test_older_keys_are_counted_by_what_finds_them() -> None:
    """A usable hash or a look-up value spares bcrypt; one that nobody can read is left over too."""
    bare, hashed = a_record(key_id="old2", older_hash=""), a_record(key_id="old3", older_hash="ab")
    survey = surveyed(an_owner(bare, hashed, unreadable=(OLDER,)))
    assert (survey.older, survey.by_bcrypt) == (3, 1)
    assert surveyed(an_owner(bare, hashed), hashes_count=False).by_bcrypt == 2
    assert surveyed(an_owner(bare, lookups=frozenset({"older-ab"}))).by_bcrypt == 0


@pytest.mark.parametrize(
    "secret",
    [bytes(32), b"ab" * 20, b"correct horse battery staple, twice", b"line\nafter line, and it is a text\n", b"0" * 64],
)
def test_typed_peppers_are_guessable(secret: bytes) -> None:
    """Text, and a few bytes over and over."""
    assert Pepper("p1", secret).is_guessable


def test_drawn_peppers_are_not() -> None:
    """Random bytes, also those that were written in hexadecimal first."""
    for _ in range(1000):
        assert not Pepper("p1", secrets.token_bytes(32)).is_guessable
        assert not Pepper("p1", secrets.token_hex(32).encode() + b"\n").is_guessable
    assert weak(Peppers.parse(f"{new_pepper('p2')},{new_pepper('p1')}")) == []


def wrong(shell: Shell) -> dict[str, str]:
    """Return what doctor finds, with its fix."""
    done = shell.run("doctor", "--json")
    found = {each["what"]: each["fix"] for each in json.loads(done.stdout)["findings"] if not each["ok"]}
    assert done.returncode == (1 if found else 0), done.stderr
    return found


def test_no_key_to_sign_with_is_found(tmp_path: Path) -> None:
    """Where the one signing key cannot be read nothing can be opened: that is told, and what to look at."""
    shell = Shell(tmp_path)
    shell.issue()
    (tmp_path / "data/signing-keys/rs256.pem").write_text("no key")
    ((what, fix),) = wrong(shell).items()
    assert "rs256.pem cannot be read" in what
    assert fix.endswith("holds a key or can be written")


def test_a_data_folder_that_cannot_be_made_is_found(tmp_path: Path) -> None:
    """Where nothing can be written there is a finding with a fix, and no traceback."""
    (tmp_path / "data").write_text("a file")
    shell = Shell(tmp_path, {"KEYSTILE_DATA_DIR": str(tmp_path / "data/below")})
    found = wrong(shell)
    assert all(what.endswith("Not a directory") for what in found)
    assert all(str(tmp_path) in fix for fix in found.values())
    assert len(found) == 2


def test_an_embedded_server_is_asked_too(tmp_path: Path) -> None:
    """A running server that says what is set is fine; where it has another issuer it is found by the port."""
    shell = Shell(tmp_path)
    with KeystileServer({"KEYSTILE_DATA_DIR": str(tmp_path / "data")}, log_path=tmp_path / "keystile.log") as server:
        shell.environment["KEYSTILE_PORT"] = str(server.port)
        assert wrong(shell) == {}
        shell.environment["KEYSTILE_ISSUER"] = f"http://127.0.0.1:{free_port()}/sts"
        found = list(wrong(shell))
    assert ["cannot be had" in what for what in found] == [True, False, True]
    assert f"calls itself 'http://127.0.0.1:{server.port}/sts'" in found[1]
