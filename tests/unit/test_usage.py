from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keystile.adapters.sqlite.database import SqliteDatabase
from keystile.adapters.sqlite.usage import SqliteUsageStore
from keystile.authority.usage import THROTTLE, Reported, UsageReader, UsageRecorder
from keystile.changes import Position
from keystile.errors import CannotTellError, ChangeRefusedError, KeyRefusedError, Reason
from keystile.records import EarlierSecret, KeyRecord
from keystile.usage import MOST
from keystile.verdicts import Known, Verdict
from unit.builders import FORMAT, NOW, a_record, an_owner, asked
from unit.watched import Time, WatchedUsageStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from keystile.usage import KeyUsage

KEY = a_record().key_id
LONG = 1e9


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def store(tmp_path: Path, time: Time) -> AsyncIterator[WatchedUsageStore]:
    database = SqliteDatabase(tmp_path / "keystile.db")
    await database.open()
    yield WatchedUsageStore(SqliteUsageStore(database, wall=lambda: time.now().timestamp()))
    await database.close()


@pytest.fixture
def alerts() -> list[str]:
    return []


@pytest.fixture
def recorder(time: Time, alerts: list[str]) -> UsageRecorder:
    return UsageRecorder(clock=time.now, ticks=time.ticks, alert=alerts.append, door="/sts/verify", most_rows=3)


def verdict_on(record: KeyRecord | None = None) -> Verdict:
    return Verdict(record=record or a_record(), owner=an_owner(), position=Position("a", 1), read_at=0.0)


def standing(record: KeyRecord | None = None) -> Known:
    known = Known(verdict_on(record), LONG, LONG)
    known.stands_until = LONG
    return known


async def told(store: WatchedUsageStore, time: Time, key_id: str = KEY, days: int = 1) -> KeyUsage:
    return await UsageReader(store, clock=time.now).usage(key_id, days)


async def test_requests_are_counted_where_the_verdict_is_kept(
    recorder: UsageRecorder, store: WatchedUsageStore, time: Time
) -> None:
    """Every request of a key that stands is counted once, by endpoint, however often they are collected."""
    known = standing()
    recorder.accepted(known.verdict, asked(path="/sts/verify/orders"), known)
    for _ in range(4):
        known.used("/sts/verify/orders")
    known.used("/sts/verify")
    await recorder.flush(store)
    known.used("/sts/verify/orders")
    for _ in range(2):
        await recorder.flush(store)
    totals = (await told(store, time)).totals
    assert totals.requests == 7
    assert totals.endpoints == {"/orders": 6, "/sts/verify": 1}


async def test_verdict_that_no_longer_stands_is_let_go(
    recorder: UsageRecorder, store: WatchedUsageStore, time: Time
) -> None:
    """What it counted to its end is told, and nothing holds it any more; when it stands again it counts on."""
    known = standing()
    recorder.accepted(known.verdict, asked(), known)
    known.stands_until = 0.0
    await recorder.flush(store)
    assert not recorder._standing  # noqa: SLF001 - what would leak
    recorder.accepted(known.verdict, asked(), known)
    await recorder.flush(store)
    assert (await told(store, time)).totals.requests == 2


async def test_requests_without_a_kept_verdict_count_too(
    recorder: UsageRecorder, store: WatchedUsageStore, time: Time
) -> None:
    """A process that keeps no verdicts counts all the same."""
    for _ in range(3):
        recorder.accepted(verdict_on(), asked(path="/sts/token"))
    await recorder.flush(store)
    totals = (await told(store, time)).totals
    assert (totals.requests, totals.endpoints) == (3, {"/sts/token": 3})


async def test_paths_are_bounded(recorder: UsageRecorder, store: WatchedUsageStore, time: Time) -> None:
    """Whoever asks for another path each time fills nothing: each request is counted, most of them as others."""
    known = standing()
    for number in range(1_000):
        recorder.accepted(known.verdict, asked(path=f"/sts/verify/{number}"), known)
        recorder.accepted(verdict_on(), asked(path=f"/sts/verify/x/{number}"))
    assert len(known.uses) <= 33
    await recorder.flush(store)
    assert max(len(row.counts) for batch in store.batches for row in batch.counts) <= 150
    totals = (await told(store, time)).totals
    assert totals.requests == 2_000
    assert sum(totals.endpoints.values()) + totals.other_endpoints == 2_000


@pytest.mark.parametrize("path", ["/a\n\x00b", "/" + "x" * 5_000, "/\ud800", "/%2e%2e"])
async def test_strange_paths_are_told_as_they_print(
    recorder: UsageRecorder, store: WatchedUsageStore, time: Time, path: str
) -> None:
    """No path breaks the telling, and none is told longer than 200 characters."""
    recorder.accepted(verdict_on(), asked(path=path))
    await recorder.flush(store)
    (endpoint,) = (await told(store, time)).totals.endpoints
    assert endpoint.isprintable()
    assert 0 < len(endpoint) <= 200


async def test_credentials_in_a_path_are_not_kept(recorder: UsageRecorder, store: WatchedUsageStore) -> None:
    """A client that puts its key or JWT where none belongs does not find it in its usage."""
    for secret in (
        FORMAT.generate("live").reveal(),
        "mcpkey_test_" + "x" * 43,
        "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    ):
        for path in (f"/a/{secret}/b", "/" + "x" * 170 + secret):
            recorder.accepted(verdict_on(), asked(path=path, user_agent=f"agent {secret}"))
        recorder.report(KEY, Reported(endpoint=secret))
        await recorder.flush(store, all_uses=True)
        told_of_it = repr(store.batches)
        assert secret[:20] not in told_of_it
        assert secret[-20:] not in told_of_it


async def test_refusals_are_counted_by_reason(recorder: UsageRecorder, store: WatchedUsageStore, time: Time) -> None:
    """A key's refusals are told with their reasons; what names no key that exists is not kept."""
    for reason in (Reason.EXPIRED, Reason.EXPIRED, Reason.WRONG_SECRET, Reason.UNKNOWN, Reason.FORGED):
        recorder.refused(KeyRefusedError(reason, key_id=KEY))
    recorder.refused(KeyRefusedError(Reason.REVOKED))
    recorder.limited(KEY)
    await recorder.flush(store)
    totals = (await told(store, time)).totals
    assert totals.refused == {"expired": 2, "wrong_secret": 1}
    assert (totals.requests, totals.limit_hits) == (0, 1)


async def test_reports_are_added(recorder: UsageRecorder, store: WatchedUsageStore, time: Time) -> None:
    """What services report adds up with what we count."""
    recorder.report(KEY, Reported(cost_cents=3, tokens=100, bytes=2_000, errors=1, endpoint="GET /orders"))
    recorder.report(KEY, Reported(cost_cents=4))
    await recorder.flush(store)
    totals = (await told(store, time)).totals
    assert (totals.cost_cents, totals.tokens, totals.bytes, totals.errors) == (7, 100, 2_000, 1)
    assert (totals.requests, totals.endpoints) == (0, {"GET /orders": 1})


@pytest.mark.parametrize("name", ["cost_cents", "tokens", "bytes", "errors"])
@pytest.mark.parametrize("number", [-1, MOST + 1, 1.5, True, "3"])
def test_numbers_that_cannot_be_are_refused(name: str, number: object) -> None:
    """A report is whole numbers from 0 to 2**53, or it is none."""
    with pytest.raises(ChangeRefusedError, match=name):
        Reported(**{name: number})  # type: ignore[arg-type]
    assert Reported(**{name: MOST})  # type: ignore[arg-type]


def test_endpoint_that_cannot_be_is_refused() -> None:
    """A reported endpoint prints, and is no longer than 200 characters."""
    for endpoint in ("x" * 201, "a\nb"):
        with pytest.raises(ChangeRefusedError, match="endpoint"):
            Reported(endpoint=endpoint)


async def test_last_use_says_who(recorder: UsageRecorder, store: WatchedUsageStore, time: Time) -> None:
    """The moment, the address and what prints of the user agent are told."""
    recorder.accepted(verdict_on(), asked(address="192.0.2.9", user_agent="curl/8\x00\n" + "x" * 500))
    await recorder.flush(store)
    use = (await told(store, time)).last_uses.current
    assert use is not None
    assert (use.at, use.address) == (NOW.timestamp(), "192.0.2.9")
    assert use.user_agent == "curl/8" + "x" * 194


async def test_last_use_is_written_every_five_minutes(
    recorder: UsageRecorder, store: WatchedUsageStore, time: Time
) -> None:
    """The first use is written at once, the next ones together five minutes later, as the last of them."""
    for second in range(0, 900, 60):
        time.passed = float(second)
        recorder.accepted(verdict_on(), asked(address=f"192.0.2.{second // 60}"))
        await recorder.flush(store)
    written = [(use.at - NOW.timestamp(), use.address) for batch in store.batches for use in batch.uses]
    assert written == [(0, "192.0.2.0"), (300, "192.0.2.5"), (600, "192.0.2.10")]


async def test_last_use_is_not_forgotten_when_nothing_follows(
    recorder: UsageRecorder, store: WatchedUsageStore, time: Time
) -> None:
    """A use that had to wait is written when its five minutes are over, and nothing is held afterwards."""
    for second in (0.0, 10.0):
        time.passed = second
        recorder.accepted(verdict_on(), asked())
        await recorder.flush(store)
    for _ in range(2):
        time.passed += THROTTLE
        await recorder.flush(store)
    use = (await told(store, time)).last_uses.current
    assert use is not None
    assert use.at == NOW.timestamp() + 10
    assert not recorder._seen  # noqa: SLF001 - what would leak


async def test_shutdown_tells_everything(recorder: UsageRecorder, store: WatchedUsageStore, time: Time) -> None:
    """At the end of a process the last use does not wait for its time."""
    for second in (0.0, 10.0):
        time.passed = second
        recorder.accepted(verdict_on(), asked())
        await recorder.flush(store, all_uses=second > 0)
    use = (await told(store, time)).last_uses.current
    assert use is not None
    assert use.at == NOW.timestamp() + 10


async def test_earlier_secret_has_a_last_use_of_its_own(
    recorder: UsageRecorder, store: WatchedUsageStore, time: Time
) -> None:
    """After a rotation it is told when the old secret was last used, by a key or by a JWT, and which one it was."""
    ends_at = NOW + timedelta(days=7)
    record = a_record(gen=3, earlier=(EarlierSecret(gen=2, ends_at=ends_at), EarlierSecret(gen=1, ends_at=NOW)))
    recorder.accepted(verdict_on(record.seen_by(record.earlier[0])), asked(address="192.0.2.1"))
    await recorder.flush(store)
    time.passed = 60.0
    recorder.accepted(verdict_on(record), asked(address="192.0.2.2"))
    await recorder.flush(store)
    uses = (await told(store, time)).last_uses
    assert uses.current is not None
    assert uses.earlier is not None
    assert (uses.current.address, uses.earlier.address) == ("192.0.2.2", "192.0.2.1")
    assert (uses.earlier.at, uses.earlier.secret_ends_at) == (NOW.timestamp(), ends_at.timestamp())
    time.passed = 400.0
    recorder.accepted(verdict_on(record), asked(), gen=2)  # a JWT that the old secret gave
    await recorder.flush(store)
    uses = (await told(store, time)).last_uses
    assert uses.earlier is not None
    assert uses.earlier.at == NOW.timestamp() + 400


async def test_store_away_loses_nothing(
    recorder: UsageRecorder, store: WatchedUsageStore, time: Time, alerts: list[str]
) -> None:
    """What is counted while the store is away is told when it is back, with the last use."""
    store.down = True
    for second in range(0, 600, 60):
        time.passed = float(second)
        recorder.accepted(verdict_on(), asked())
        await recorder.flush(store)
    store.down = False
    await recorder.flush(store)
    usage = await told(store, time)
    assert usage.totals.requests == 10
    assert usage.last_uses.latest_at == NOW.timestamp() + 540
    assert alerts == []


async def test_batch_of_unknown_outcome_counts_once(
    recorder: UsageRecorder, store: WatchedUsageStore, time: Time
) -> None:
    """A store that keeps a batch and says it did not is told the same batch again."""
    store.silent = True
    recorder.accepted(verdict_on(), asked())
    await recorder.flush(store)
    recorder.accepted(verdict_on(), asked())
    await recorder.flush(store)
    store.silent = False
    await recorder.flush(store)
    assert (await told(store, time)).totals.requests == 2


async def test_interrupted_telling_loses_nothing(recorder: UsageRecorder, store: WatchedUsageStore, time: Time) -> None:
    """A process that is told to end while it tells finishes telling."""
    recorder.accepted(verdict_on(), asked())
    task = asyncio.create_task(recorder.flush(store))
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await recorder.flush(store, all_uses=True)
    usage = await told(store, time)
    assert usage.totals.requests == 1
    assert usage.last_uses.latest_at == NOW.timestamp()


async def test_too_much_is_lost_with_one_alert(
    recorder: UsageRecorder, store: WatchedUsageStore, time: Time, alerts: list[str]
) -> None:
    """Memory stays bounded while the store is away; that something is lost is said once, and again another time."""
    store.down = True
    for _ in range(3):
        for number in range(10):
            recorder.accepted(verdict_on(a_record(key_id=f"key-{number}")), asked())
        await recorder.flush(store)
    assert len(alerts) == 1
    assert recorder.lost
    store.down = False
    for _ in range(2):
        await recorder.flush(store)
    assert (await told(store, time, "key-0")).totals.requests == 3
    for number in range(10):
        recorder.refused(KeyRefusedError(Reason.EXPIRED, key_id=f"key-{number}"))
    assert len(alerts) == 2


async def test_days_are_told_in_order_each_there(recorder: UsageRecorder, store: WatchedUsageStore, time: Time) -> None:
    """A range has a row for each of its days, and averages over all of them."""
    for day in (0, 2):
        time.passed = day * 86_400.0
        recorder.accepted(verdict_on(), asked())
        await recorder.flush(store)
    document = (await told(store, time, days=4)).to_document()
    assert [(row["date"], row["requests"]) for row in document["days"]] == [
        ("2026-02-28", 0),
        ("2026-03-01", 1),
        ("2026-03-02", 0),
        ("2026-03-03", 1),
    ]
    assert document["averages_per_day"]["requests"] == 0.5
    assert document["last_used_at"] == "2026-03-03T12:00:00Z"
    assert document["last_used_ip"] == "192.0.2.1"
    assert document["earlier_secret_last_use"] is None


async def test_key_never_used_has_an_empty_answer(store: WatchedUsageStore, time: Time) -> None:
    """Whatever is asked for has the same form."""
    document = (await told(store, time, days=30)).to_document()
    assert len(document["days"]) == 30
    assert document["totals"]["requests"] == 0
    assert (document["last_used_at"], document["last_used_ip"], document["last_use"]) == (None, None, None)


@pytest.mark.parametrize("days", [0, -1, 401])
async def test_range_has_bounds(store: WatchedUsageStore, time: Time, days: int) -> None:
    """Nobody asks for more than is kept."""
    with pytest.raises(ChangeRefusedError):
        await told(store, time, days=days)


async def test_usage_cannot_be_told_while_the_store_is_away(store: WatchedUsageStore, time: Time) -> None:
    """No numbers are better than wrong ones."""
    store.down = True
    with pytest.raises(CannotTellError):
        await told(store, time)
