"""What the embedded store reads for one key does not grow with the number of owners and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystile.adapters.sqlite.database import SqliteDatabase
from keystile.adapters.sqlite.directory import SqliteDirectory
from unit.builders import a_record

if TYPE_CHECKING:
    from pathlib import Path


async def test_every_look_up_goes_by_an_index(tmp_path: Path) -> None:
    """No statement of a look-up walks through a table."""
    database = SqliteDatabase(tmp_path / "keystile.db")
    await database.open()
    directory = SqliteDirectory(database)
    owner = await directory.adopt("alice")
    await directory.update(owner.id, lambda current: current.with_record(a_record()))
    connection = database._connection  # noqa: SLF001 - to see what it is asked
    assert connection is not None
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    assert await directory.find(a_record().key_id)
    assert await directory.owner(owner.id)
    assert await directory.owner_named("alice")
    connection.set_trace_callback(None)
    selects = [statement for statement in asked if statement.startswith("SELECT")]
    assert len(selects) > 3

    plans = [row[3] for select in selects for row in connection.execute(f"EXPLAIN QUERY PLAN {select}").fetchall()]
    await database.close()
    assert not [plan for plan in plans if plan.startswith("SCAN")], plans
