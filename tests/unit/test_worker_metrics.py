"""Numbers of several workers, told as those of one server."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keystile.adapters.worker_files import WorkerFiles
from keystile.authority.memory import LAG_BOUNDS
from keystile.http.metrics import families
from keystile.http.metrics.exposition import exposition
from keystile.http.metrics.readings import Reading
from keystile.http.metrics.workers import SILENT, Workers, open_workers
from keystile.wiring import worker_files
from unit.served import settings_in

if TYPE_CHECKING:
    from keystile.http.metrics.families import Family


HUGE = "1" + "0" * 400  # larger than any float


class Worker:
    """A worker that counts what a test says, at ticks that a test says."""

    def __init__(self, folder: Path) -> None:
        self.at = 100.0
        self.accepted = 0
        self.is_open = 0
        self.took = [0, 0]
        self.files = WorkerFiles(folder)
        self.workers = Workers(self.read, self.files)

    def read(self) -> Reading:
        """Return its numbers."""
        reading = Reading(self.at)
        reading.put(families.VERIFICATIONS, "accepted", "none", value=self.accepted)
        reading.put(families.OPEN, "redis", value=self.is_open)
        reading.put(families.WORKERS, value=1)
        counts = [0] * (len(LAG_BOUNDS) + 1)
        counts[0], counts[-1] = self.took
        reading.put(families.LAG, value=[*counts, float(sum(self.took))])
        return reading

    async def told(self, family: Family, *labels: str) -> list[float] | None:
        """Return what a scrape of it tells."""
        return (await self.workers.all()).values.get((family, labels))

    async def accepted_by_all(self) -> float:
        """Return how many were accepted, by a scrape of it."""
        told = await self.told(families.VERIFICATIONS, "accepted", "none")
        assert told is not None
        return told[0]

    def kill(self) -> None:
        """End as a killed process does: the kernel closes its files."""
        self.files.close()


def a_census(counted_at: float, live: int) -> Reading:
    reading = Reading(100.0)
    reading.put(families.LIVE, value=(counted_at, live))
    return reading


async def test_any_worker_tells_of_all(tmp_path: Path) -> None:
    """Counters and histograms are sums, a breaker is open if it is open anywhere."""
    first, second = Worker(tmp_path), Worker(tmp_path)
    first.accepted, second.accepted = 3, 4
    first.took, second.took = [1, 2], [5, 0]
    second.is_open = 1
    await first.workers.tell()
    await second.workers.tell()
    for worker in (first, second):
        assert await worker.accepted_by_all() == 7
        assert await worker.told(families.OPEN, "redis") == [1]
        assert await worker.told(families.WORKERS) == [2]
        lag = await worker.told(families.LAG)
        assert lag is not None
        assert (lag[0], lag[-2], lag[-1]) == (6, 2, 8.0)


async def test_no_counter_ever_goes_back(tmp_path: Path) -> None:
    """Whoever is asked knows at least what anybody has shown before, though nobody told it in between."""
    workers = [Worker(tmp_path) for _ in range(3)]
    for worker in workers:
        await worker.workers.tell()
    shown = 0.0
    for number in range(30):
        workers[number * 7 % 3].accepted += 1
        now = await workers[number % 3].accepted_by_all()
        assert now >= shown
        shown = now
    for worker in workers:
        await worker.workers.tell()
    assert await workers[0].accepted_by_all() == 30


async def test_what_a_dead_worker_counted_is_kept(tmp_path: Path) -> None:
    """A worker that was killed counts on through the one that takes its place, and only once."""
    first, second = Worker(tmp_path), Worker(tmp_path)
    first.accepted, second.accepted = 10, 100
    await second.workers.tell()
    assert await first.accepted_by_all() == 110
    second.kill()
    assert await first.accepted_by_all() == 110
    third = Worker(tmp_path)
    third.accepted = 5
    assert await third.accepted_by_all() == 115
    assert await first.accepted_by_all() == 115
    assert len(third.files.others()) == 1  # with its own, two


async def test_state_of_a_dead_worker_is_forgotten(tmp_path: Path) -> None:
    """What was true of a worker that told nothing for seconds is true no more: an open breaker would alert for ever."""
    first, second = Worker(tmp_path), Worker(tmp_path)
    second.accepted, second.is_open = 4, 1
    await second.workers.tell()
    assert await first.told(families.OPEN, "redis") == [1]
    second.kill()
    first.at += SILENT
    assert await first.told(families.OPEN, "redis") == [0]
    assert await first.told(families.WORKERS) == [1]
    assert await first.accepted_by_all() == 4


async def test_the_latest_census_counts(tmp_path: Path) -> None:
    """Of two workers that once counted all keys, the one who did so later is believed, were it fewer."""
    files = [WorkerFiles(tmp_path) for _ in range(2)]
    for file, (counted_at, live) in zip(files, [(1_000.0, 70), (2_000.0, 12)], strict=True):
        await Workers(partial(a_census, counted_at, live), file).tell()
    assert await Worker(tmp_path).told(families.LIVE) == [2_000.0, 12]


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[1",
        "[]",
        "{}",
        '["x", []]',
        '[1, [["keystile_nothing", [], [1]]]]',
        '[1, [["keystile_alerts", [], ["x"]]]]',
        '[1, [["keystile_alerts", ["more"], [1]]]]',
        '[1, [["keystile_breaker_open", [7], [1]]]]',
        '[1, [["keystile_revocation_lag_seconds", [], [1, 2]]]]',
        '[1, [["keystile_alerts", [], []]]]',
        '[1, [["keystile_verifications", ["accepted", "none"], [1, 2]]]]',
        '[100, [["keystile_pending_revocations", [], []]]]',
        '[100, [["keystile_breaker_open", ["\\ud800"], [1]]]]',
        f'[1, [["keystile_alerts", [], [{HUGE}]]]]',
        f"[{HUGE}, []]",
        "[" * 100_000,
        "\x00\xff",
    ],
    ids=lambda text: text[:50],
)
async def test_what_is_no_reading_is_passed_over(tmp_path: Path, text: str) -> None:
    """A file of somebody else's, or of an older version, costs its numbers and nothing else."""
    first = Worker(tmp_path)
    await first.workers.tell()
    for place in (1, 7):
        (tmp_path / f"{place}.json").write_bytes(text.encode("latin-1"))
    worker = Worker(tmp_path)  # which takes the place of one that left this
    worker.accepted = 2
    assert await worker.accepted_by_all() == 2
    told = exposition(await worker.workers.all()).decode()
    assert 'keystile_verifications_total{outcome="accepted",reason="none"} 2.0' in told


async def test_a_disk_that_fails_costs_the_others_numbers_alone(tmp_path: Path) -> None:
    """Without a place to tell them, a worker tells its own numbers; once there is one, those of all."""
    folder = tmp_path / "metrics"
    folder.write_text("in the way")
    worker = Worker(folder)
    worker.accepted = 3
    assert await worker.accepted_by_all() == 3
    folder.unlink()
    another = Worker(folder)
    another.accepted = 4
    await another.workers.tell()
    assert await worker.accepted_by_all() == 7


async def test_scrapes_at_once_agree(tmp_path: Path) -> None:
    """Many scrapes of one worker at the same time leave one whole file, of its last numbers."""
    worker, other = Worker(tmp_path), Worker(tmp_path)
    await other.workers.tell()

    async def scrape() -> float:
        worker.accepted += 1
        return await worker.accepted_by_all()

    told = await asyncio.gather(*(scrape() for _ in range(20)))
    assert max(told) == await other.accepted_by_all() == 20


async def test_a_worker_tells_without_being_asked_and_a_last_time(tmp_path: Path) -> None:
    """Its siblings know its numbers though nobody scrapes it, and what it counted until its end."""
    worker, sibling = Worker(tmp_path), Worker(tmp_path)
    worker.accepted = 1
    async with open_workers(worker.read, worker.files):
        assert await sibling.accepted_by_all() == 1
        worker.accepted = 6
    assert await sibling.accepted_by_all() == 6


def test_a_server_that_starts_counts_from_nothing(tmp_path: Path) -> None:
    """Nothing of an earlier run is left, and where there was none that is no fault."""
    files = WorkerFiles(tmp_path / "all/metrics")
    files.clear()
    assert files.take() == ""
    files.write("counted")
    files.close()
    assert {folder.stat().st_mode & 0o777 for folder in (tmp_path / "all", tmp_path / "all/metrics")} == {0o700}
    (tmp_path / "all/metrics/of-somebody").mkdir()
    files.clear()
    assert list((tmp_path / "all").iterdir()) == []


def test_servers_that_share_a_data_folder_do_not_mix(tmp_path: Path) -> None:
    """One that starts on another address or port forgets nothing of one that runs."""
    mine = worker_files(settings_in(tmp_path))
    mine.take()
    mine.write("mine")
    for other in ({"host": "127.0.0.2"}, {"port": 8401}):
        worker_files(settings_in(tmp_path, **other)).clear()
    sibling = worker_files(settings_in(tmp_path))
    sibling.take()
    assert sibling.others() == ["mine"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    """Whoever can write to the folder cannot have a file elsewhere overwritten, deleted, or told."""
    secret = tmp_path / "elsewhere" / "secret"
    secret.parent.mkdir()
    secret.write_text("precious")
    folder = tmp_path / "metrics"
    folder.symlink_to(secret.parent)
    files = WorkerFiles(folder)
    files.clear()
    folder.mkdir()
    (folder / "0.new").symlink_to(secret)
    (folder / "1.json").symlink_to(secret)
    files.take()
    files.write("mine")
    with pytest.raises(OSError, match="symbolic"):
        files.others()
    assert secret.read_text() == "precious"


def test_what_is_no_file_stops_nobody(tmp_path: Path) -> None:
    """Pipes and folders in the place of files: nobody waits for them, and none is left open."""
    os.mkfifo(tmp_path / "0.new")
    os.mkfifo(tmp_path / "1.json")
    (tmp_path / "2.json").mkdir()
    files = WorkerFiles(tmp_path)
    files.take()
    files.write("mine")
    writer = os.open(tmp_path / "1.json", os.O_RDWR)
    before = len(list(Path("/dev/fd").iterdir()))
    assert [files.others() for _ in range(3)] == [["", ""]] * 3
    assert len(list(Path("/dev/fd").iterdir())) == before
    os.close(writer)
