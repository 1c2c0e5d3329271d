"""The decisions in adr/: their form, and that what they name is there."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from keystile.settings import Settings

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "adr").iterdir())
DECISIONS = FILES[1:]
HEADINGS = ["Context", "Considered options", "Decision", "Consequences", "Confirmation"]
CONSEQUENCES = ["Good:", "Bad:", "Revisit when:"]
ONE_PAGE = 70  # lines
STATUS = re.compile(r"Status: (proposed|accepted|superseded by (\d{4}))")

every_decision = pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)


def sections(path: Path) -> dict[str, str]:
    """Return what stands under each heading, in order."""
    _, *parts = re.split(r"^## (.+)\n", path.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], map(str.strip, parts[1::2]), strict=True))


def test_files_are_numbered_without_a_gap() -> None:
    """The template comes first, and each decision has the next number and says in its name what was decided."""
    assert FILES[0].name == "0000-template.md"
    for number, path in enumerate(FILES):
        assert re.fullmatch(rf"{number:04}-[a-z0-9]+(-[a-z0-9]+)*\.md", path.name), path.name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_heading_is_there_and_holds_something(path: Path) -> None:
    """All have the same headings in the same order, and nothing under them is empty."""
    found = sections(path)
    assert list(found) == HEADINGS
    assert all(found.values())
    parts = re.split(r"^(\w[\w ]*:)$", found["Consequences"], flags=re.MULTILINE)
    assert parts[1::2] == CONSEQUENCES
    assert all("* " in part for part in parts[2::2])


@every_decision
def test_title_status_and_date_stand_on_top(path: Path) -> None:
    """The first lines say what was decided, whether it still holds, and since when."""
    title, _, status, decided, *_ = path.read_text().splitlines()
    assert title.startswith("# ")
    said = STATUS.fullmatch(status)
    assert said
    assert said[2] is None or any(other.name.startswith(said[2]) for other in DECISIONS)
    assert date.fromisoformat(decided.removeprefix("Date: "))


@every_decision
def test_decision_is_one_page(path: Path) -> None:
    """A decision can be read in two minutes."""
    lines = path.read_text().splitlines()
    assert len(lines) <= ONE_PAGE
    assert max(map(len, lines)) <= 120


@every_decision
def test_several_options_were_considered(path: Path) -> None:
    """What was not done is named too."""
    assert sections(path)["Considered options"].count("* ") >= 3


@every_decision
def test_what_a_decision_names_is_there(path: Path) -> None:
    """Files, settings and other decisions that the text names exist; it is confirmed by a file or a command."""
    text = path.read_text()
    confirmation = sections(path)["Confirmation"]
    assert re.search(r"`(tests|service)/[\w./]+`|`make \w+`", confirmation)
    for name in re.findall(r"`((?:tests|service)/[\w./]+)`", text):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"KEYSTILE_([A-Z_]+)", text):
        assert name.lower() in Settings.model_fields, name
    for number in re.findall(r"\((\d{4})\)", text):
        assert any(other.name.startswith(number) for other in DECISIONS), number
