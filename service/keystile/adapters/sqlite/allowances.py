"""Allowances in SQLite: a counter per bucket, measure and window, changed in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystile.limits import Measure, counter_name, share, window_of
from keystile.ports import Allowance

if TYPE_CHECKING:
    import sqlite3

    from keystile.adapters.sqlite.database import SqliteDatabase
    from keystile.limits import Bucket

_KEPT = 3_600.0  # seconds a counter outlives its window
_SWEPT = 100  # counters thrown away at once


class SqliteAllowances:
    """The `Allowances` of every process on one data folder."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def take(self, bucket: Bucket, *, needed: int, ahead: int, at: float) -> Allowance:
        """See `Allowances.take`."""
        return await self._database.write(_take, bucket, needed, ahead, at)

    async def charge(self, bucket: Bucket, *, cents: int, at: float) -> int:
        """See `Allowances.charge`."""
        return await self._database.write(_charge, bucket, cents, at)


def _take(connection: sqlite3.Connection, bucket: Bucket, needed: int, ahead: int, at: float) -> Allowance:
    left = [quota.most - _used(connection, bucket, quota.measure, at) for quota in bucket.quotas]
    if min(left) < 1:
        return Allowance(0, tuple(left))
    counted = [rest for quota, rest in zip(bucket.quotas, left, strict=True) if quota.measure.counts_requests]
    granted = share(min(counted), needed, ahead) if counted else max(needed, ahead)
    for number, quota in enumerate(bucket.quotas):
        if quota.measure.counts_requests:
            _count(connection, bucket, quota.measure, granted, at)
            left[number] -= granted
    _sweep(connection, at)
    return Allowance(granted, tuple(left))


def _charge(connection: sqlite3.Connection, bucket: Bucket, cents: int, at: float) -> int:
    _count(connection, bucket, Measure.COST, cents, at)
    most = next(quota.most for quota in bucket.quotas if quota.measure is Measure.COST)
    return most - _used(connection, bucket, Measure.COST, at)


def _used(connection: sqlite3.Connection, bucket: Bucket, measure: Measure, at: float) -> int:
    name = counter_name(bucket, measure, window_of(measure, at))
    row = connection.execute("SELECT used FROM allowances WHERE counter = ?", (name,)).fetchone()
    return 0 if row is None else int(row[0])


def _count(connection: sqlite3.Connection, bucket: Bucket, measure: Measure, amount: int, at: float) -> None:
    window = window_of(measure, at)
    connection.execute(
        "INSERT INTO allowances (counter, used, until) VALUES (?, ?, ?)"
        " ON CONFLICT (counter) DO UPDATE SET used = used + excluded.used",
        (counter_name(bucket, measure, window), amount, window.ends_at + _KEPT),
    )


def _sweep(connection: sqlite3.Connection, at: float) -> None:
    connection.execute(
        "DELETE FROM allowances WHERE counter IN (SELECT counter FROM allowances WHERE until < ? LIMIT ?)", (at, _SWEPT)
    )
