"""The operations of the management API: what each takes, answers, and which right it needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keystile.http.api import answers, models
from keystile.http.api.handlers import Handlers
from keystile.rights import Action

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pydantic import BaseModel

    from keystile.http.api.handlers import Call
    from keystile.http.asgi import Answer

_ALWAYS = (400, 401, 403, 429, 503)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One route. *path* is below the API's base, *answers* are those of success; an *urgent* one waits for nobody."""

    name: str
    method: str
    path: str
    summary: str
    action: Action
    handle: Callable[[Handlers, Call], Awaitable[Answer]]
    answers: Mapping[int, type[BaseModel] | None]
    refusals: tuple[int, ...] = ()
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    headers: tuple[str, ...] = field(default=())
    urgent: bool = False

    @property
    def writing(self) -> bool:
        """Tell whether something is changed."""
        return self.method != "GET"

    @property
    def statuses(self) -> tuple[int, ...]:
        """Every status this operation may answer."""
        takes = (413, 415, 422) if self.body is not None else (422,) if self.query is not None else ()
        return tuple(sorted({*self.answers, *_ALWAYS, *takes, *self.refusals}))


_KEY = "/keys/{key_id}"
_STOPPED: Mapping[int, type[BaseModel] | None] = {200: answers.ShownKey, 202: answers.StoppedKey}
OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="list_keys",
        method="GET",
        path="/keys",
        summary="List keys: one's own, or all an administrator may see.",
        action=Action.LIST,
        handle=Handlers.list_keys,
        query=models.Listing,
        answers={200: answers.KeyPage},
    ),
    Operation(
        name="issue_key",
        method="POST",
        path="/keys",
        summary="Issue a key. Its text is shown this once.",
        action=Action.ISSUE,
        handle=Handlers.issue_key,
        body=models.NewKeyOf,
        answers={200: answers.IssuedKey, 201: answers.IssuedKey},
        refusals=(404, 409),
        headers=("Idempotency-Key",),
    ),
    Operation(
        name="show_key",
        method="GET",
        path=_KEY,
        summary="Show a key, with its entity tag.",
        action=Action.SHOW,
        handle=Handlers.show_key,
        answers={200: answers.ShownKey},
        refusals=(404,),
    ),
    Operation(
        name="change_key",
        method="PATCH",
        path=_KEY,
        summary="Change name, expiry or policy; what becomes narrower bites within a second.",
        action=Action.CHANGE,
        handle=Handlers.change_key,
        body=models.KeyChange,
        answers={200: answers.ShownKey},
        refusals=(404, 409, 412),
        headers=("If-Match",),
    ),
    Operation(
        name="delete_key",
        method="DELETE",
        path=_KEY,
        summary="Revoke a key.",
        action=Action.REVOKE,
        handle=Handlers.delete_key,
        answers=_STOPPED,
        refusals=(404, 409),
        urgent=True,
    ),
    Operation(
        name="suspend_key",
        method="POST",
        path=f"{_KEY}/suspend",
        summary="Refuse a key and its JWTs until it is resumed.",
        action=Action.SUSPEND,
        handle=Handlers.suspend_key,
        answers=_STOPPED,
        refusals=(404, 409),
        urgent=True,
    ),
    Operation(
        name="resume_key",
        method="POST",
        path=f"{_KEY}/resume",
        summary="Accept a suspended key again.",
        action=Action.RESUME,
        handle=Handlers.resume_key,
        answers={200: answers.ShownKey},
        refusals=(404, 409),
    ),
    Operation(
        name="rotate_key",
        method="POST",
        path=f"{_KEY}/rotate",
        summary="Give a key a new secret; the present one works until the grace ends.",
        action=Action.ROTATE,
        handle=Handlers.rotate_key,
        body=models.Rotation,
        answers={200: answers.IssuedKey},
        refusals=(404, 409),
        headers=("Idempotency-Key",),
    ),
    Operation(
        name="revoke_key",
        method="POST",
        path=f"{_KEY}/revoke",
        summary="Revoke a key for ever, with a reason.",
        action=Action.REVOKE,
        handle=Handlers.revoke_key,
        body=models.Revocation,
        answers=_STOPPED,
        refusals=(404, 409),
        urgent=True,
    ),
    Operation(
        name="show_usage",
        method="GET",
        path=f"{_KEY}/usage",
        summary="Tell how a key was used, day by day.",
        action=Action.USAGE,
        handle=Handlers.show_usage,
        query=models.Range,
        answers={200: answers.Reported},
        refusals=(404,),
    ),
    Operation(
        name="report_usage",
        method="POST",
        path=f"{_KEY}/usage",
        summary="Report cost, tokens, bytes and errors that a service saw.",
        action=Action.REPORT_USAGE,
        handle=Handlers.report_usage,
        body=models.ReportedUse,
        answers={204: None},
        refusals=(404,),
    ),
    Operation(
        name="list_events",
        method="GET",
        path=f"{_KEY}/events",
        summary="List what was audited about a key lately.",
        action=Action.EVENTS,
        handle=Handlers.list_events,
        query=models.Page,
        answers={200: answers.EventPage},
        refusals=(404,),
    ),
    Operation(
        name="list_keys_of_user",
        method="GET",
        path="/users/{user_id}/keys",
        summary="List the keys of a user.",
        action=Action.LIST,
        handle=Handlers.list_keys_of_user,
        answers={200: answers.KeyPage},
        refusals=(404,),
    ),
    Operation(
        name="issue_key_for_user",
        method="POST",
        path="/users/{user_id}/keys",
        summary="Issue a key for a user.",
        action=Action.ISSUE,
        handle=Handlers.issue_key_for_user,
        body=models.NewKey,
        answers={200: answers.IssuedKey, 201: answers.IssuedKey},
        refusals=(404, 409),
        headers=("Idempotency-Key",),
    ),
    Operation(
        name="revoke_all_of_user",
        method="POST",
        path="/users/{user_id}/keys/revoke-all",
        summary="Revoke every live key of a user.",
        action=Action.REVOKE_ALL,
        handle=Handlers.revoke_all_of_user,
        body=models.Revocation,
        answers={200: answers.Stopped},
        refusals=(404, 409),
    ),
    Operation(
        name="verify_keys",
        method="POST",
        path="/keys/verify-batch",
        summary="Verify up to 100 keys.",
        action=Action.VERIFY_BATCH,
        handle=Handlers.verify_keys,
        body=models.KeysToVerify,
        answers={200: answers.VerifiedKeys},
    ),
    Operation(
        name="whoami",
        method="GET",
        path="/whoami",
        summary="Tell who calls, and what they may do.",
        action=Action.WHOAMI,
        handle=Handlers.whoami,
        answers={200: answers.CallerShown},
    ),
)
