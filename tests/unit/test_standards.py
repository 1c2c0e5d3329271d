"""`tests/STANDARDS.md` names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = (TESTS / "STANDARDS.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:unit|stories)/\w+)(?:::(\w+))?`", PAGE)))


def test_every_row_names_a_test() -> None:
    """No line stands there without a proof."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| what")]
    assert len(rows) > 20
    assert all(re.search(r"`(unit|stories)/", row) for row in rows)


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_what_is_named_is_there(file: str, test: str) -> None:
    """Each file exists, and each test stands in its file and says in a sentence what it promises."""
    text = (TESTS / f"{file}.py").read_text(encoding="utf-8")
    assert re.search(rf"def {test or 'test_'}\w*\(.*?\) -> None:.*?\n    \"\"\"", text, re.DOTALL)
