"""The journal of deaths: durable, shared by the processes of a folder, and believed only where it is ours."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from typing import TYPE_CHECKING

import pytest

from keystile.adapters.journal import FileJournal
from keystile.changes import ALL_GENERATIONS, Change
from keystile.errors import CannotTellError
from keystile.peppers import Peppers
from unit.builders import PEPPERS, pepper

if TYPE_CHECKING:
    from pathlib import Path

DEATH = Change(key_id="k3v9x0q2m7ab", kills_below=ALL_GENERATIONS, dead=True, pending=True, at=1.0)
_HOLDER = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def alerts() -> list[str]:
    return []


@pytest.fixture
def journal(tmp_path: Path, alerts: list[str]) -> FileJournal:
    return FileJournal(tmp_path / "journal", PEPPERS, alert=alerts.append)


async def test_an_empty_journal_is_no_fault(journal: FileJournal) -> None:
    """Before anything was kept there is no folder, and nothing to finish."""
    assert await journal.entries() == ()
    with journal.turn() as ours:
        assert not ours


async def test_what_was_added_is_told_to_every_process(journal: FileJournal, tmp_path: Path) -> None:
    """Another process on the folder reads the same."""
    await journal.add(DEATH)
    other = FileJournal(tmp_path / "journal", PEPPERS, alert=pytest.fail)
    assert await journal.entries() == await other.entries() == (DEATH,)
    await other.remove(DEATH)
    assert await journal.entries() == ()
    await journal.remove(DEATH)  # twice is no fault


async def test_a_later_word_on_a_key_replaces_the_first(journal: FileJournal) -> None:
    """A death that was written meanwhile is kept as written."""
    written = Change(key_id=DEATH.key_id, kills_below=ALL_GENERATIONS, dead=True, at=2.0)
    await journal.add(DEATH)
    await journal.add(written)
    assert await journal.entries() == (written,)


@pytest.mark.parametrize("text", ["", "{}", "0" * 64 + "{}", "\udcff"])
async def test_files_that_are_not_ours_are_told_of_and_ignored(
    journal: FileJournal, tmp_path: Path, alerts: list[str], text: str
) -> None:
    """Whoever writes into the folder without a pepper ends no key, and stops nobody."""
    await journal.add(DEATH)
    (tmp_path / "journal/aaaaaaaaaaaa.death").write_bytes(text.encode(errors="surrogateescape"))
    for _ in range(3):
        assert await journal.entries() == (DEATH,)
    assert alerts == ["the journal holds a file that is not ours: aaaaaaaaaaaa.death"]


async def test_a_death_of_another_key_is_not_believed(journal: FileJournal, tmp_path: Path, alerts: list[str]) -> None:
    """A file copied under another key's name is not ours."""
    await journal.add(DEATH)
    (tmp_path / f"journal/{DEATH.key_id}.death").rename(tmp_path / "journal/bbbbbbbbbbbb.death")
    assert await journal.entries() == ()
    assert len(alerts) == 1


async def test_a_retired_pepper_still_ends_keys(journal: FileJournal, tmp_path: Path) -> None:
    """A death accepted before the peppers changed is finished after it."""
    await journal.add(DEATH)
    rotated = Peppers((pepper("p2"), pepper("p1", retired=True)))
    assert await FileJournal(tmp_path / "journal", rotated, alert=pytest.fail).entries() == (DEATH,)


async def test_nobody_else_can_read_it(journal: FileJournal, tmp_path: Path) -> None:
    """Folder and files are the owner's own."""
    await journal.add(DEATH)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "journal", *(tmp_path / "journal").iterdir())]
    assert modes == [0o700, 0o600]


async def test_a_full_disk_is_said(journal: FileJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be kept is not acknowledged, and leaves no half of a file."""

    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CannotTellError, match="No space left"):
        await journal.add(DEATH)
    assert await journal.entries() == ()


@pytest.mark.parametrize("kind", ["folder", "pipe", "link"])
async def test_what_is_no_file_hides_no_death(
    journal: FileJournal, tmp_path: Path, alerts: list[str], kind: str
) -> None:
    """A folder, a pipe or a link in the place of a death is told of, and the others are obeyed."""
    await journal.add(DEATH)
    odd = tmp_path / "journal/aaaaaaaaaaaa.death"
    if kind == "folder":
        odd.mkdir()
    elif kind == "pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to("/dev/zero")
    assert await journal.entries() == (DEATH,)
    assert alerts == ["the journal holds a file that is not ours: aaaaaaaaaaaa.death"]


async def test_no_link_is_followed(journal: FileJournal, tmp_path: Path) -> None:
    """Root's revoke writes, locks and gives away nothing but the journal, whatever its owner put in its place."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "journal").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CannotTellError):
        await journal.add(DEATH)
    with pytest.raises(CannotTellError), journal.turn():
        pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


async def test_one_process_at_a_time_finishes(journal: FileJournal, tmp_path: Path) -> None:
    """While another process holds the turn it is not ours; however that one ends, it is ours then."""
    await journal.add(DEATH)
    with journal.turn() as ours:
        assert ours
    script = (sys.executable, "-c", _HOLDER, str(tmp_path / "journal/lock"))
    pipe = asyncio.subprocess.PIPE
    holder = await asyncio.create_subprocess_exec(*script, stdin=pipe, stdout=pipe)
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    with journal.turn() as ours:
        assert not ours
    holder.kill()
    await holder.communicate()
    with journal.turn() as ours:
        assert ours
