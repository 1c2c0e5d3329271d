"""What this process remembers of the change log, and whether a verdict or a JWT still counts by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystile.authority.revoked import RevokedJwts
from keystile.changes import EVERY_OWNER, EVERY_ROLE, Position
from keystile.histograms import Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keystile.changes import Change, PollMark
    from keystile.ports import LogPage, Ticks
    from keystile.verdicts import Verdict

HEARD_FOR = 0.7  # seconds after which silence of the log is no longer trusted
WATCHED_FOR = 1.0  # the same for this process's own look at the directory's events, while the log is away
POLL_VOUCHES_FOR = 60.0  # seconds that a complete poll of the directory's events keeps verdicts fresh
REMEMBERED = 2 * 3600.0  # longer than any verdict or JWT lives
_EVERYBODY = "owner:" + EVERY_OWNER
_ROLES = "owner:" + EVERY_ROLE
_NOWHERE = Position("", -1)
_UNTOUCHED = ((-2, 0), 0.0)
LAG_BOUNDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 15.0, 60.0)  # seconds; the bound is 1
_KILLS_KEPT = 8  # of one key: each later one outdoes the earlier ones, but for those that are still to come


class ChangeMemory:
    """The recent part of the change log, and of the directory's own events while the log is away.

    A verdict carries the position the log had before its read; it counts only if nothing later names its key or
    owner. So a fill that raced with a change is void, whichever of the two ends first. *version* rises with whatever
    could end a verdict: who judged at an older one judges again. *vouches_until* (ticks): until then silence means
    that nothing was said. *fresh_until* (ticks): until then the last complete poll of events vouches for what was read.
    *revoked* are the single JWTs that the log named. *lags*: how long after they were made kills were heard of that
    others said.
    """

    def __init__(self, ticks: Ticks) -> None:
        self._ticks = ticks
        self._heard_at = float("-inf")
        self.version = 0
        self.vouches_until = float("-inf")
        self.fresh_until = float("-inf")
        self._heard = _NOWHERE
        self._said = _NOWHERE
        self._touched: dict[str, tuple[tuple[int, int], float]] = {}
        self._kills: dict[str, tuple[Change, ...]] = {}
        self.revoked = RevokedJwts()
        self.lags = Histogram(LAG_BOUNDS)
        self._latest = -1
        self._void = -1
        self.polled: PollMark | None = None
        self._highest_mark = 0.0

    @property
    def heard(self) -> Position | None:
        """Up to where the log was read; None before the first read."""
        return None if self._heard is _NOWHERE else self._heard

    @property
    def position(self) -> Position:
        """The position to note before reading a record: what was heard, and what this process said itself."""
        if self._said.incarnation == self._heard.incarnation and self._said > self._heard:
            return self._said
        return self._heard

    def hears(self) -> bool:
        """Tell whether the log was heard, or the directory's events seen, so lately that silence means something."""
        return self._ticks() < self.vouches_until

    def silent_for(self) -> float:
        """Return how long ago the log was heard, in seconds; infinity before the first time."""
        return self._ticks() - self._heard_at

    def unfollowed_for(self) -> float:
        """Return how long ago the last complete poll of the directory's events began; infinity before the first."""
        return self._ticks() - self.fresh_until + POLL_VOUCHES_FOR

    def hears_log(self, within: float = HEARD_FOR) -> bool:
        """Tell whether the log itself was heard in the last *within* seconds."""
        return self.silent_for() < within

    def followed_within(self, seconds: float) -> bool:
        """Tell whether a complete poll of the directory's events began at most that long ago."""
        return self._ticks() < self.fresh_until - POLL_VOUCHES_FOR + seconds

    def counts(self, position: Position, *names: str) -> bool:
        """Tell whether what was read at *position* still counts: nothing later names any of *names*."""
        if position.incarnation != self._heard.incarnation or position.offset < self._void or not self.hears():
            return False
        read_at = (position.offset, position.local)
        for name in (_EVERYBODY, *names):
            touched = self._touched.get(name)
            if touched is not None and touched[0] > read_at:
                return False
        return True

    def counts_verdict(self, verdict: Verdict, now: float) -> bool:
        """Tell whether *verdict* still counts by the log at *now* (epoch seconds)."""
        record, owner = verdict.record, verdict.owner
        names = (record.key_id, owner_name(owner.id), *(() if owner.roles is None else (_ROLES,)))
        if not self.counts(verdict.position, *names):
            return False
        # What was read dead stays dead, whatever kills it: only verdicts that grant something can be killed.
        return record.revoked_at is not None or not self.is_killed(record.key_id, record.gen, now)

    def nothing_since(self, position: Position) -> bool:
        """Tell whether the log said nothing at all after *position*."""
        return self.counts(position) and self._latest <= position.offset

    def is_killed(self, key_id: str, gen: int, now: float) -> bool:
        """Tell whether a JWT or record of that generation was killed by *now* (epoch seconds)."""
        kills = self._kills.get(key_id)
        return kills is not None and any(gen < kill.kills_below and kill.kills_from <= now for kill in kills)

    def seconds_to_kill(self, key_id: str, gen: int, now: float) -> float:
        """Return when, from *now* (epoch seconds) on, that generation is killed; infinity if nothing says so."""
        kills = [kill.kills_from - now for kill in self._kills.get(key_id, ()) if gen < kill.kills_below]
        return min(kills, default=float("inf"))

    def is_dead(self, key_id: str) -> bool:
        """Tell whether the log said that no generation of this key counts any more."""
        return any(kill.dead for kill in self._kills.get(key_id, ()))

    def is_stopped(self, key_id: str) -> bool:
        """Tell whether the log said that the key is dead, or suspended by somebody who could not write it yet."""
        return any(kill.dead or kill.pending for kill in self._kills.get(key_id, ()))

    def is_pending(self, key_id: str) -> bool:
        """Tell whether a stop of that key was said and waits to be written."""
        return any(kill.pending for kill in self._kills.get(key_id, ()))

    def pending(self) -> tuple[Change, ...]:
        """Return the deaths and suspensions that were said while the directory could not be written."""
        return tuple(kill for kill in self._all_kills() if kill.pending)

    def kills(self) -> tuple[Change, ...]:
        """Return every kill that is remembered, those that are still to come too."""
        return self._all_kills()

    def said(self, change: Change, position: Position) -> None:
        """Take in a change this process appended itself, before it is heard."""
        if position.incarnation == self._heard.incarnation:
            self._said = max(self._said, position) if self._said.incarnation == position.incarnation else position
            self._take(change, position.offset)
        elif change.kills_below or change.jti:
            self._end(change)
            self.version += 1

    def obey(self, change: Change) -> None:
        """Take in a kill that the log may not know yet."""
        if not any(kill.outdoes(change) for kill in self._kills.get(change.key_id, ())):
            self._kill(change)
            self.version += 1

    def overhear(self, owner_ids: Iterable[str]) -> None:
        """Take in which owners changed, told by somebody else than the log, to this process alone."""
        names = [owner_name(owner_id) for owner_id in owner_ids]
        if names:
            # A position of this process alone: later than all it heard, earlier than all that the log can still say.
            here = self.position
            self._said = Position(self._heard.incarnation, here.offset, here.local + 1)
            self._touched |= dict.fromkeys(names, ((here.offset, here.local + 1), self._ticks()))
            self.version += 1

    def watched(self, asked_at: float) -> None:
        """Note that the directory's own events were seen completely up to *asked_at* (ticks)."""
        self.vouches_until = max(self.vouches_until, asked_at + WATCHED_FOR)
        self.fresh_until = max(self.fresh_until, asked_at + POLL_VOUCHES_FOR)

    def heard_page(self, page: LogPage, asked_at: float, now: float) -> tuple[Change, ...]:
        """Take in a page that was asked for at *asked_at* (ticks); return the kills a new log does not know of.

        *now* is in epoch seconds.
        """
        forgotten: tuple[Change, ...] = ()
        self._hear_poll(page.polled, now)
        if not page.whole or page.position.incarnation != self._heard.incarnation:
            # Another life of the log, or a hole in it: every older verdict is void, for nobody can say
            # what was lost. Kills survive here, and are said again for those who were not listening.
            forgotten = tuple(kill for kill in self._all_kills() if not _is_said(kill, page.changes))
            forgotten += self.revoked.unsaid(page.changes, now)
            self._touched.clear()
            self.version += 1
            self._latest = -1
            self._said = _NOWHERE
            self._void = -1 if self._heard is _NOWHERE else page.position.offset
        for change in page.changes:
            if self._heard is not _NOWHERE and self._is_news(change):
                self.lags.observe(now - change.at)
            self._take(change, page.position.offset)
        self._heard = page.position
        self._heard_at = asked_at
        self.vouches_until = max(self.vouches_until, asked_at + HEARD_FOR)
        return forgotten

    def forget(self, now: float) -> None:
        """Drop what is older than any verdict or JWT can be."""
        named_since, killed_since = self._ticks() - REMEMBERED, now - REMEMBERED
        self.revoked.forget(now)
        self._touched = {name: touch for name, touch in self._touched.items() if touch[1] > named_since}
        for key_id, kills in list(self._kills.items()):
            left = tuple(kill for kill in kills if kill.pending or max(kill.at, kill.kills_from) > killed_since)
            self._kills[key_id] = left
            if not left:
                del self._kills[key_id]

    def _all_kills(self) -> tuple[Change, ...]:
        return tuple(kill for kills in self._kills.values() for kill in kills)

    def _hear_poll(self, mark: PollMark | None, now: float) -> None:
        # Looks wrong: a moment of Keycloak's clock is judged by when it was heard, not by our clock. A mark that was
        # not there at the last read is younger than that read, however far apart the clocks are, or are stepped.
        # Only for the first one after a silence, and for one that is set back, there is nothing but the clocks.
        if mark is None or mark == self.polled:
            return
        if mark.polled_at > self._highest_mark > 0 and self.hears_log():
            began_at = self._heard_at
        else:
            began_at = self._ticks() - max(0.0, now - mark.polled_at)
        self.fresh_until = max(self.fresh_until, began_at + POLL_VOUCHES_FOR)
        self._highest_mark = max(self._highest_mark, mark.polled_at)
        self.polled = mark

    def _take(self, change: Change, offset: int) -> None:
        self.version += 1
        self._latest = max(self._latest, offset)
        for name in (change.key_id, owner_name(change.owner_id) if change.owner_id else ""):
            if name:  # a page that was under way while this process spoke must not take its own word back
                self._touched[name] = (max((offset, 0), self._touched.get(name, _UNTOUCHED)[0]), self._ticks())
        if change.key_id:
            self._end(change)

    def _is_news(self, change: Change) -> bool:
        """Tell whether *change* ends something, and this process did not know: it said it, or hears it again."""
        if change.jti:
            return not self.revoked.has(change.key_id, change.jti)
        known = self._kills.get(change.key_id, ())
        return change.kills_below > 0 and not any(kill.outdoes(change) for kill in known)

    def _end(self, change: Change) -> None:
        if change.jti:
            self.revoked.add(change)
        else:
            self._kill(change)
            self.revoked.outdone_by(change)

    def _kill(self, change: Change) -> None:
        known = self._kills.get(change.key_id, ())
        if any(kill.outdoes(change) and not change.outdoes(kill) for kill in known):
            return
        left = tuple(kill for kill in known if not change.outdoes(kill))
        if change.kills_below:
            self._kills[change.key_id] = (*left, change)[-_KILLS_KEPT:]
        elif left != known:  # a suspension that was said and never written has been undone
            self._kills[change.key_id] = left


def _is_said(kill: Change, changes: Iterable[Change]) -> bool:
    return any(change.key_id == kill.key_id and change.outdoes(kill) for change in changes)


def owner_name(owner_id: str) -> str:
    """Return the name under which changes of an owner are remembered, apart from key ids."""
    return "owner:" + owner_id
