"""The fixture on an SQLite file, new for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keystile.adapters.sqlite.database import SqliteDatabase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    """Open a database of this test's own."""
    database = SqliteDatabase(tmp_path / "keystile.db")
    await database.open()
    yield database
    await database.close()
