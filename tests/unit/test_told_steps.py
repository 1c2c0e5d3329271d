"""What is counted and traced of the ways to a verdict, over a store, a shared cache and an index."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from keystile.authority.counts import Source
from keystile.authority.tracing import DECIDE, IN_PROCESS, IN_REDIS, INDEX, QUERY, SHAPE, TracedLookup, traced_verifier
from keystile.errors import CannotTellError, KeyRefusedError
from unit.builders import asked, death_of
from unit.crawled import KEY, STRANGER
from unit.world import TTL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unit.crawled import Crawled
    from unit.world import World


class KeptSpan:
    """A span that keeps what is noted."""

    traceparent = ""

    def __init__(self) -> None:
        self.noted: dict[str, str | int] = {}

    def note(self, name: str, value: str | int) -> None:
        """Keep it."""
        self.noted[name] = value

    def answered(self, status: int) -> None:
        """Keep it."""
        self.noted["status"] = status


class KeptTracer:
    """A `Tracer` that keeps steps and what was noted of each."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, dict[str, str | int]]] = []

    @contextmanager
    def request(self, door: str, method: str, traceparent: str) -> Iterator[KeptSpan]:
        """Trace nothing: here are only steps."""
        raise NotImplementedError(door, method, traceparent)

    @contextmanager
    def step(self, name: str, *, once: bool = False) -> Iterator[KeptSpan]:
        """Keep the step."""
        span = KeptSpan()
        if not (once and name in dict(self.steps)):
            self.steps.append((name, span.noted))
        yield span


async def test_reads_are_counted_by_their_place(world: World) -> None:
    """From the store once, then from the shared cache once in each process, then from memory; stale ones apart."""
    issued, there = await world.issue(), await world.start()
    here = world.here
    for process in (here, here, there, there, there):
        await here.chores.finish()
        await world.verify(issued.key, process)
    world.directory.down = True
    await world.pass_time(TTL.total_seconds())
    await world.verify(issued.key, there)
    reads = [process.verifier.auditor.counts.reads for process in (here, there)]
    assert (reads[0][Source.DIRECTORY], reads[1][Source.REDIS], reads[1][Source.STALE]) == (1, 1, 1)
    assert reads[1][Source.DIRECTORY] == 0
    counts = [process.verifier.auditor.counts for process in (here, there)]
    assert [each.standing + each.reads[Source.PROCESS] for each in counts] == [1, 2]


async def test_steps_of_a_verification_are_told(world: World) -> None:
    """Each with what it found: a cold key asks Redis and the store, a known one is judged again after any change."""
    issued, tracer = await world.issue(), KeptTracer()
    await world.here.follower.read()
    verifier = traced_verifier(world.here.verifier, tracer)
    await verifier.verify(issued.key.reveal(), asked())
    assert tracer.steps == [
        (IN_PROCESS, {"found": "nothing"}),
        (SHAPE, {"reason": "good"}),
        (IN_REDIS, {"found": False}),
        (QUERY, {"found": True}),
        (DECIDE, {}),
    ]
    tracer.steps.clear()
    await world.log.append(death_of("somebodyelse"))
    await world.here.follower.read()
    await verifier.verify(issued.key.reveal(), asked())
    assert tracer.steps == [(IN_PROCESS, {"found": "to be judged"}), (DECIDE, {})]


async def test_a_step_tells_why_it_failed_in_a_word_of_ours(world: World) -> None:
    """An outage is told as one, without the words of whoever failed."""
    issued, tracer = await world.issue(), KeptTracer()
    verifier = traced_verifier(world.here.verifier, tracer)
    world.directory.down = True
    with pytest.raises(CannotTellError):
        await verifier.verify(issued.key.reveal(), asked())
    assert tracer.steps[-1] == (QUERY, {"reason": "cannot_tell"})


async def test_the_index_is_a_step_of_its_own(crawled: Crawled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is found by the index, and who is not, is seen apart from the query before."""
    monkeypatch.setattr("keystile.digests.bcrypt_decoy", lambda _key: None)
    tracer = KeptTracer()
    await crawled.crawl()
    lookup = TracedLookup(crawled.lookup, tracer)
    assert await lookup.find(KEY) is None
    await lookup.find_unnamed(KEY, "192.0.2.1")
    with pytest.raises((KeyRefusedError, CannotTellError)):
        await lookup.find_unnamed(STRANGER, "192.0.2.1")
    assert [name for name, _ in tracer.steps] == [QUERY, INDEX, INDEX]
    assert (tracer.steps[0][1], tracer.steps[1][1]) == ({"found": False}, {})
    assert tracer.steps[2][1]["reason"]


async def test_a_crawl_tells_how_far_it_is(crawled: Crawled) -> None:
    """An operator sees that it runs, how many owners it has read, and when it is complete; who never asked, nothing."""
    unasked = crawled.index.is_complete
    crawled.directory.may_page.clear()
    await crawled.index.prepare()
    crawling = crawled.index._crawling  # noqa: SLF001 - the one task to wait for
    assert crawling is not None
    seen = [(crawled.index.is_complete, crawled.index.crawled)]
    crawled.directory.may_page.set()
    await crawling
    seen.append((crawled.index.is_complete, crawled.index.crawled))
    assert unasked is None
    assert seen == [(False, 0), (True, len(crawled.directory.all))]
    assert not crawled.index.is_crawling
