"""The pages of the gateways against what was tested."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from gateways.conftest import GATEWAYS
from gateways.programs import CONFIGURATIONS, GATEWAY, KEYSTILE, SERVICE

if TYPE_CHECKING:
    from gateways.programs import Gateway

_README = (CONFIGURATIONS.parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("program", GATEWAYS, ids=lambda program: program.name)
def test_a_page_says_what_was_tested(program: type[Gateway]) -> None:
    """It links each file of its folder, and names the setting and the ports that the tests ran with."""
    folder = CONFIGURATIONS / program.name
    page = (folder / "README.md").read_text(encoding="utf-8")
    files = {path.name for path in folder.iterdir()} - {"README.md"}
    assert set(re.findall(r"\]\(([^)]+)\)", page)) == files
    assert set(program.files) <= files
    assert f"KEYSTILE_FORWARDED_HEADERS={program.convention} " in page
    assert all(port in page for port in (GATEWAY, KEYSTILE, SERVICE))
    assert "/sts/gate/{gate}" in page
    assert f"(service/gateways/{program.name}/README.md) | `{program.convention}` |" in _README
