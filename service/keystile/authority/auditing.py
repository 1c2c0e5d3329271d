"""What is audited, and how often: every change, every refusal, successes once a minute, floods as one line a second."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cachetools import TTLCache

from keystile.authority.counts import ACCEPTED, CANNOT_TELL, SEARCHING, TOO_MANY_FAILURES, Counts
from keystile.errors import Reason, StillSearchingError, TooManyFailuresError
from keystile.ports import AuditEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystile.errors import CannotTellError, KeyRefusedError, LimitReachedError
    from keystile.policy import RequestContext
    from keystile.ports import AuditLog, Ticks
    from keystile.verdicts import Verdict

_FLOODS = frozenset({Reason.MALFORMED, Reason.FORGED, Reason.JWT_INVALID, Reason.NONCE_REFUSED})
_EVENTS = {
    Reason.REVOKED: "revoked_key_used",  # somebody still uses it, or it leaked
    Reason.SECRET_ENDED: "ended_secret_used",  # somebody has not moved to the new one
    Reason.CHANGE_UNDONE: "change_undone",
    Reason.DUPLICATE: "duplicate_key_id",  # somebody copied a record to another owner
    Reason.UNREADABLE: "unreadable_record",
}
CHANGES = {
    "key_issued": "issued",
    "key_changed": "changed",
    "key_suspended": "suspended",
    "key_resumed": "resumed",
    "key_rotated": "rotated",
    "key_revoked": "revoked",
    "jwt_revoked": "jwt_revoked",
}
AUDITED_EVERY = 60.0  # seconds between two lines on the successes of one key
_MAX_FLOODS = 1_000
_ELSEWHERE = "(others)"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asked for a change ("": nobody who may), and in which request."""

    actor: str
    address: str | None = None
    request_id: str | None = None


_origin: ContextVar[Origin | None] = ContextVar("origin", default=None)


@contextmanager
def on_behalf_of(origin: Origin) -> Iterator[None]:
    """Say for the block who asks: every change audited in it names them."""
    token = _origin.set(origin)
    try:
        yield
    finally:
        _origin.reset(token)


class Auditor:
    """Turns outcomes into audit lines, and counts them for the metrics."""

    def __init__(self, log: AuditLog, *, ticks: Ticks) -> None:
        self._log = log
        self._accepted: TTLCache[str, bool] = TTLCache(100_000, AUDITED_EVERY, timer=ticks)
        self._limited: TTLCache[tuple[str, str], bool] = TTLCache(100_000, AUDITED_EVERY, timer=ticks)
        self._floods: Counter[tuple[str, Reason, str]] = Counter()
        self._unanswered: Counter[tuple[str, str]] = Counter()
        self.counts = Counts()

    def accepted(self, verdict: Verdict, context: RequestContext) -> None:
        """Audit a success, at most once a minute per key and whoever acts for its owner.

        Who knows when the last line was calls the next two.
        """
        name = _chain_of(verdict, context)
        if name in self._accepted:
            self.accepted_again()
        else:
            self._accepted[name] = True
            self.accepted_anew(verdict, context)

    def delegated(self, verdict: Verdict, context: RequestContext, **granted: str) -> None:
        """Audit that a JWT was given to whoever acts for the key's owner: each one, with what was *granted*."""
        self._record(
            "delegated",
            "accepted",
            verdict.record.key_id,
            verdict.owner.username,
            context,
            tenant=verdict.record.policy.tenant or None,
            actor=f"key:{context.actors[0].key_id}",
            detail={**_detail(context), **granted},
        )

    def accepted_again(self) -> None:
        """Count a success whose key was audited less than a minute ago."""
        self.counts.outcomes[ACCEPTED] += 1

    def stood(self) -> None:
        """Count the same where nothing was judged: that is nearly every request there is."""
        self.counts.standing += 1

    def accepted_anew(self, verdict: Verdict, context: RequestContext) -> None:
        """Count and audit a success."""
        self.accepted_again()
        self._record("exchange", "accepted", verdict.record.key_id, verdict.owner.username, context)

    def refused(self, refusal: KeyRefusedError, context: RequestContext) -> None:
        """Audit a refusal; malformed and forged ones are summed up."""
        reason = refusal.reason
        if reason in _FLOODS:
            self.thrown_away(reason, context.address, context.door)
            return
        self.counts.outcomes["refused", reason.value] += 1
        event = _EVENTS.get(reason, "exchange")
        self._record(event, "refused", refusal.key_id, refusal.owner, context, reason=reason.value)

    def limited(self, refusal: LimitReachedError, context: RequestContext) -> None:
        """Count a refusal by a limit, and audit it, at most once a minute per key and limit."""
        self.counts.outcomes["limited", refusal.reason.value] += 1
        if (refusal.key_id, refusal.limit) in self._limited:
            return
        self._limited[refusal.key_id, refusal.limit] = True
        self._record(
            "exchange",
            "refused",
            refusal.key_id,
            refusal.owner,
            context,
            reason=refusal.reason.value,
            detail={**_detail(context), "limit": refusal.limit},
        )

    def thrown_away(self, reason: Reason, address: str, door: str) -> None:
        """Count what cost no look-up; a line a second sums it up."""
        self.counts.outcomes["refused", reason.value] += 1
        known = len(self._floods) < _MAX_FLOODS
        self._floods[(address if known else _ELSEWHERE, reason, door)] += 1

    def unanswered(self, error: CannotTellError | TooManyFailuresError, context: RequestContext) -> None:
        """Count a request nobody could decide on; a line a second tells why."""
        self.counts.outcomes[_unanswered(error)] += 1
        self._unanswered[str(error), context.door] += 1

    def changed(self, event: AuditEvent) -> None:
        """Audit a change of a key, or its refusal, with who asked for it where that is known."""
        change = CHANGES.get(event.event)
        if change is not None and event.outcome == "done":
            self.counts.changes[change] += 1
        origin = _origin.get()
        if origin is not None:
            event = replace(
                event,
                actor=event.actor or origin.actor or None,
                address=event.address or origin.address,
                request_id=event.request_id or origin.request_id,
            )
        self._log.record(event)

    def alert(self, what: str) -> None:
        """Audit that something about the deployment is wrong."""
        self.counts.alerts += 1
        self._log.record(AuditEvent(event="alert", outcome="noticed", reason=what))

    def flush(self) -> None:
        """Write the summed-up lines."""
        floods, self._floods = self._floods, Counter()
        for (address, reason, door), count in floods.items():
            self._log.record(
                AuditEvent(
                    event="exchange",
                    outcome="refused",
                    address=address,
                    reason=reason.value,
                    count=count,
                    detail={"door": door},
                )
            )
        unanswered, self._unanswered = self._unanswered, Counter()
        for (why, door), count in unanswered.items():
            detail = {"door": door}
            self._log.record(AuditEvent(event="exchange", outcome="unanswered", reason=why, count=count, detail=detail))

    def _record(
        self,
        event: str,
        outcome: str,
        key_id: str | None,
        owner: str | None,
        context: RequestContext,
        **more: Any,  # noqa: ANN401 - fields of an event
    ) -> None:
        """Write what came of a request for that key; *more* may say its detail otherwise."""
        self._log.record(
            AuditEvent(
                event=event,
                outcome=outcome,
                key_id=key_id,
                owner=owner,
                address=context.address or None,
                request_id=context.request_id or None,
                **{"detail": _detail(context), **more},
            )
        )

    async def run(self) -> None:
        """Flush once a second until cancelled."""
        while True:
            await asyncio.sleep(1.0)
            self.flush()


def _unanswered(error: CannotTellError | TooManyFailuresError) -> tuple[str, str]:
    """Return outcome and reason: few of them, for what an error says is for the audit log."""
    if isinstance(error, TooManyFailuresError):
        return TOO_MANY_FAILURES
    return SEARCHING if isinstance(error, StillSearchingError) else CANNOT_TELL


def _chain_of(verdict: Verdict, context: RequestContext) -> str:
    """Return the key id, and behind it those of who acts for its owner."""
    key_id = verdict.record.key_id
    return " ".join((key_id, *(actor.key_id for actor in context.actors))) if context.actors else key_id


def _detail(context: RequestContext) -> dict[str, Any]:
    """Return where it was, who acts, the one who asks first, and in which trace, if that has not given it its name."""
    detail: dict[str, Any] = {"door": context.door}
    if context.actors:
        detail["act"] = [actor.key_id for actor in context.actors]
    if context.trace_id and context.trace_id != context.request_id:
        detail["trace_id"] = context.trace_id
    return detail
