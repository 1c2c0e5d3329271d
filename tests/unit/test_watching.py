"""While the log is away each process watches the directory's events itself, and knows as much as the log would say."""

from __future__ import annotations

import pytest

from keystile.authority.memory import HEARD_FOR, POLL_VOUCHES_FOR, WATCHED_FOR, owner_name
from keystile.authority.watching import EventWatch
from keystile.changes import EVERY_OWNER, EVERY_ROLE, Change, PollMark
from keystile.errors import CannotTellError, EventsLostError
from keystile.ports import PolledEvents
from keystile.verdicts import Verdict
from unit.listening import KEY, Listener, a_verdict, at

OWNER = "owner-1"


class Events:
    """What the directory would tell, and what it was asked."""

    def __init__(self) -> None:
        self.named: set[str] = set()
        self.own: set[str] = set()
        self.realm_wide = False
        self.fault: Exception | None = None
        self.asked: list[float | None] = []

    async def poll(self, since: float | None) -> PolledEvents:
        """Tell what is new."""
        self.asked.append(since)
        if self.fault is not None:
            raise self.fault
        page = PolledEvents(
            owner_ids=frozenset(self.named), own_ids=frozenset(self.own), realm_wide=self.realm_wide, polled_at=100.0
        )
        self.named, self.own, self.realm_wide = set(), set(), False
        return page


class Watcher(Listener):
    """A process that heard the log up to position 5, and a mark of 50."""

    def __init__(self) -> None:
        super().__init__()
        self.events = Events()
        self.watch = EventWatch(self.events, self.memory, ticks=self.time.ticks)
        self.hear(5, polled=PollMark(polled_at=50.0))
        self.memory.watched(self.time.ticks() - WATCHED_FOR)  # that mark is a fresh one

    def counts(self) -> bool:
        """Tell whether what was read at position 5 still counts."""
        return self.memory.counts(at(5), KEY, owner_name(OWNER))


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


async def test_verdicts_count_while_events_are_seen(watcher: Watcher) -> None:
    """Nothing happened, and that is known: what was read before the log fell silent counts for another second."""
    watcher.time.passed = HEARD_FOR
    assert not watcher.counts()
    await watcher.watch.look()
    assert watcher.events.asked == [50.0]
    assert watcher.counts()
    watcher.time.passed += WATCHED_FOR - 0.01
    assert watcher.counts()
    watcher.time.passed += 0.01
    assert not watcher.counts()


@pytest.mark.parametrize("kind", ["named", "own"])
async def test_owner_changed_meanwhile_is_read_again(watcher: Watcher, kind: str) -> None:
    """A change, made elsewhere or by another Keystile process, voids what was read before it and nothing after it."""
    getattr(watcher.events, kind).add(OWNER)
    await watcher.watch.look()
    assert not watcher.counts()
    assert watcher.memory.counts(watcher.memory.position, KEY, owner_name(OWNER))
    assert watcher.memory.counts(at(5), KEY, owner_name("somebody else"))


async def test_each_look_goes_on_from_the_last(watcher: Watcher) -> None:
    """The first look begins where the log's last poll ended, later ones where the one before did."""
    await watcher.watch.look()
    await watcher.watch.look()
    assert watcher.events.asked == [50.0, 100.0]


async def test_without_a_beginning_nothing_older_counts() -> None:
    """A process that never heard of a poll cannot know what happened before its first look."""
    watcher = Watcher()
    watcher.memory.polled = None
    await watcher.watch.look()
    assert not watcher.counts()
    assert watcher.memory.counts(watcher.memory.position, KEY, owner_name(OWNER))


async def test_a_process_that_never_heard_the_log_may_use_what_it_read_since() -> None:
    """Started without Redis, a process answers keys from what it reads, as long as it sees the events."""
    listener, events = Listener(), Events()
    watch = EventWatch(events, listener.memory, ticks=listener.time.ticks)
    assert not listener.memory.counts(listener.memory.position, KEY)
    await watch.look()
    read = listener.memory.position
    assert listener.memory.counts(read, KEY, owner_name(OWNER))
    events.named = {OWNER}
    await watch.look()
    assert not listener.memory.counts(read, KEY, owner_name(OWNER))
    assert listener.memory.heard is None
    listener.hear(7, life="b")
    assert not listener.memory.counts(read, KEY)


async def test_events_out_of_reach_vouch_for_nothing(watcher: Watcher) -> None:
    """Log and directory away: what is known ends with the log's word."""
    watcher.events.fault = CannotTellError("down")
    watcher.time.passed = HEARD_FOR
    with pytest.raises(CannotTellError):
        await watcher.watch.look()
    assert not watcher.counts()


async def test_after_a_time_without_events_nothing_older_counts(watcher: Watcher) -> None:
    """What happened while the realm kept no events is never told."""
    watcher.events.fault = EventsLostError("off")
    with pytest.raises(EventsLostError):
        await watcher.watch.look()
    watcher.events.fault = None
    await watcher.watch.look()
    assert not watcher.counts()
    await watcher.watch.look()
    assert watcher.memory.counts(watcher.memory.position, KEY, owner_name(OWNER))


async def test_the_log_takes_over_where_it_returns(watcher: Watcher) -> None:
    """What was read since by our own eyes counts on; what the log names in the meantime is read again."""
    watcher.events.named = {OWNER}
    await watcher.watch.look()
    read = watcher.memory.position
    watcher.hear(5 + 2**20)
    assert watcher.memory.counts(read, KEY, owner_name(OWNER))
    watcher.hear(6 + 2**20, Change(owner_id=OWNER))
    assert not watcher.memory.counts(read, KEY, owner_name(OWNER))


async def test_everybody_is_one_owner_too(watcher: Watcher) -> None:
    """A change of the realm as a whole voids every verdict read before it."""
    watcher.memory.overhear({EVERY_OWNER})
    assert not watcher.memory.counts_verdict(a_verdict(at(5)), 0.0)


async def test_looks_keep_verdicts_fresh(watcher: Watcher) -> None:
    """A complete look vouches for a minute, as a poll told by the log does."""
    watcher.time.passed = 500.0
    assert not watcher.memory.followed_within(POLL_VOUCHES_FOR)
    await watcher.watch.look()
    assert watcher.memory.followed_within(1.0)
    assert watcher.memory.fresh_until == watcher.time.ticks() + POLL_VOUCHES_FOR


async def test_what_one_process_saw_itself_means_nothing_to_others(watcher: Watcher) -> None:
    """A verdict sealed by a process that looked itself is older, to all others, than anything they saw."""
    other = Watcher()
    watcher.memory.overhear({"somebody else"})
    sealed = a_verdict(watcher.memory.position)
    other.memory.overhear({OWNER})
    assert not other.memory.counts_verdict(Verdict.from_text(sealed.to_text()), 0.0)


async def test_the_log_is_later_than_whatever_a_process_saw_itself(watcher: Watcher) -> None:
    """However much a process saw, the log's next entry voids what it names."""
    for _ in range(5):
        watcher.memory.overhear({OWNER})
    read = watcher.memory.position
    watcher.hear(6, Change(owner_id=OWNER))
    assert not watcher.memory.counts(read, KEY, owner_name(OWNER))


async def test_old_marks_put_back_keep_nothing_fresh(watcher: Watcher) -> None:
    """Whoever writes to Redis can show old poll marks in turn; none is newer than the newest that was heard."""
    first, second = PollMark(polled_at=51.0), PollMark(polled_at=52.0)
    watcher.hear(6, polled=second)
    until = watcher.memory.fresh_until
    for _ in range(3):
        watcher.time.passed += 0.1
        watcher.hear(6, polled=first)
        watcher.time.passed += 0.1
        watcher.hear(6, polled=second)
    assert watcher.memory.fresh_until == until


async def test_after_an_hour_of_nothing_it_begins_anew(watcher: Watcher) -> None:
    """With log and directory away for long, the events of all that time are not asked for: nothing older counts."""
    watcher.time.passed = 3_601.0
    await watcher.watch.look()
    assert watcher.events.asked == [None]
    assert not watcher.counts()


async def test_change_of_roles_is_seen_without_the_log(watcher: Watcher) -> None:
    """A change that names nobody ends what depends on roles, and nothing else."""
    watcher.events.realm_wide = True
    await watcher.watch.look()
    assert watcher.counts()
    assert not watcher.memory.counts(at(5), KEY, owner_name(EVERY_ROLE))
