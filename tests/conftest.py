"""Fixtures on real servers and files, for every test; the tests marked `last` run after all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

pytest_plugins = ["contracts.redis_fixtures", "contracts.keycloak_fixtures", "contracts.sqlite_fixtures"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what judges the whole run at its end."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)
