"""Self-registration: whoever holds a key nobody has yet becomes an owner of their own, with nothing but keys."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keystile.authority.lifecycle import KeyRequest
from keystile.errors import RequestError, TooManyFailuresError
from keystile.limits import Bucket, Measure, Quota, window_of
from keystile.ports import AuditEvent
from keystile.restrictions import Policy

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from keystile.authority.auditing import Auditor
    from keystile.authority.registering import RegisteredKey, Registrar
    from keystile.policy import RequestContext
    from keystile.ports import Allowances, Clock, Enrolment
    from keystile.public_keys import PublicKey

PREFIX = "self-"
"""What the usernames of all who registered themselves begin with, and nobody else's should."""

_HANDLE = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,30}[a-z0-9])", re.ASCII)
_BY = "self-registration"
_SCOPES = ("keys:read", "keys:write")
"""They reach one's own keys alone: with less, whoever loses the only key has lost the name."""


def is_newcomer(username: str) -> bool:
    """Tell whether somebody of that name registered by themselves: it may be anybody."""
    return username.lower().startswith(PREFIX)


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Somebody who asks to become an owner: the key, and what they want to be called."""

    public_key: PublicKey
    handle: str

    @classmethod
    def called(cls, public_key: PublicKey, handle: str | None) -> Newcomer:
        """Return the newcomer of that name, in lower case; without one it comes of the key. Raises `RequestError`."""
        name = public_key.lookup[-12:] if handle is None else handle.lower()
        if not _HANDLE.fullmatch(name):
            raise RequestError("invalid_request", "a handle is 3 to 32 letters, digits and inner hyphens")
        return cls(public_key, name)


@dataclass(frozen=True, kw_only=True)
class Newcomers:
    """Makes owners of those whose key was proved: at most *most* a day in the whole deployment.

    Such an owner has no e-mail, no roles and nothing but the key, which is good for more keys of its own. *life* says
    when it ends.
    """

    registrar: Registrar
    enrolment: Enrolment
    allowances: Allowances
    auditor: Auditor
    clock: Clock
    most: int
    life: Callable[[], datetime | None]

    async def welcome(self, newcomer: Newcomer, context: RequestContext) -> RegisteredKey:
        """Make the owner and register the key. Raises `TooManyFailuresError` when the day's number is reached.

        Raises `ChangeRefusedError` if name or key are somebody's, or `CannotTellError`; an owner that was made before
        that stays, with nothing to come in by.
        """
        await self._count(context)
        request = KeyRequest(
            owner=f"{PREFIX}{newcomer.handle}",
            name=newcomer.handle,
            issued_by=_BY,
            expires_at=self.life(),
            policy=Policy(scopes=_SCOPES),
        )
        return await self.registrar.register(request, newcomer.public_key, make_owner=self.enrolment.create)

    async def _count(self, context: RequestContext) -> None:
        bucket = Bucket("self-registrations", _BY, (Quota(Measure.DAY, self.most),))
        at = self.clock().timestamp()
        if (await self.allowances.take(bucket, needed=1, ahead=1, at=at)).granted:
            return
        address, request_id = context.address or None, context.request_id or None
        reason = "daily_number_reached"
        self.auditor.changed(
            AuditEvent(event=_BY, outcome="refused", reason=reason, address=address, request_id=request_id)
        )
        raise TooManyFailuresError(max(1, int(window_of(Measure.DAY, at).ends_at - at)))
