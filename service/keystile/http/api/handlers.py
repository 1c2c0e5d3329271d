"""What the operations do: from a checked request to the authority, and from what it returns to JSON."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from keystile.authority.alterations import Wanted
from keystile.authority.lifecycle import KeyRequest
from keystile.authority.usage import Reported
from keystile.documents import etag_of, key_document
from keystile.durations import parse_duration
from keystile.errors import CannotTellError, KeyRefusedError, PolicyRefusedError, RequestError, RequestReusedError
from keystile.expiries import parse_expiry
from keystile.http.api.cursors import read_cursor, write_cursor
from keystile.http.asgi import NO_STORE, Answer, json_answer
from keystile.policy import held_scopes
from keystile.records import RequestTag, RevocationReason, format_moment
from keystile.restrictions import Policy
from keystile.rights import Action

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from keystile.assembly import Deployment
    from keystile.authority.administration import Asker, Place
    from keystile.authority.stops import StoppedKey
    from keystile.http.asgi import Header
    from keystile.records import KeyRecord, Owner

_NOT_POLICY = frozenset({"name", "expires", "owner", "environment"})
_DONE_BEFORE = (
    "this request was done before; its secret was shown then, and is kept nowhere: rotate the key for a new one"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One checked request. *params* are those of the path, *body* and *query* what the operation takes."""

    asker: Asker
    params: Mapping[str, str]
    body: Any
    query: Any
    raw_body: bytes
    headers: Mapping[str, str]


class Handlers:
    """The operations over one deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._administration = deployment.administration
        self._clock = deployment.verifier.clock

    async def list_keys(self, call: Call) -> Answer:
        """See the table."""
        asked = call.query
        page = await self._administration.page(
            call.asker,
            read_cursor(asked.cursor),
            asked.limit,
            lambda owner, record: self._fits(asked, owner, record),
            asked.owner,
        )
        return self._page(page.keys, page.place)

    async def list_keys_of_user(self, call: Call) -> Answer:
        """See the table."""
        owner = await self._administration.owner(call.asker, call.params["user_id"], Action.LIST)
        return self._page([(owner, record) for record in owner.by_age()], None)

    async def show_key(self, call: Call) -> Answer:
        """See the table."""
        owner, record = await self._administration.show(call.asker, call.params["key_id"])
        return self._shown(owner, record, **await self._last_use(record.key_id))

    async def issue_key(self, call: Call) -> Answer:
        """See the table."""
        owner = call.body.owner or call.asker.caller.username
        if not owner:
            raise PolicyRefusedError("owner is missing: this caller is nobody's user", "owner")
        return await self._issue(call, owner)

    async def issue_key_for_user(self, call: Call) -> Answer:
        """See the table."""
        owner = await self._administration.owner(call.asker, call.params["user_id"], Action.ISSUE)
        return await self._issue(call, owner.username)

    async def change_key(self, call: Call) -> Answer:
        """See the table."""
        sent = call.body.model_dump(exclude_unset=True)
        wanted = Wanted(
            name=sent.get("name"),
            policy=policy_fields(sent),
            expires="expires" in sent,
            expires_at=self._expiry(sent.get("expires")),
        )
        held = await self._administration.change(call.asker, call.params["key_id"], wanted, _tags_of(call))
        return self._shown(*held)

    async def suspend_key(self, call: Call) -> Answer:
        """See the table."""
        return self._stopped(await self._administration.suspend(call.asker, call.params["key_id"]), "suspended")

    async def resume_key(self, call: Call) -> Answer:
        """See the table."""
        return self._shown(*await self._administration.resume(call.asker, call.params["key_id"]))

    async def rotate_key(self, call: Call) -> Answer:
        """See the table."""
        grace = _grace(call.body.grace)
        tag = _tag_of(call)
        try:
            async with self._deployment.repeats.once(tag):
                rotated = await self._administration.rotate(call.asker, call.params["key_id"], grace, tag)
        except RequestReusedError as done:
            return await self._done_before(call, done, Action.ROTATE)
        # The one moment the holder gets it.
        return self._shown(rotated.owner, rotated.record, api_key=rotated.key.reveal())

    async def delete_key(self, call: Call) -> Answer:
        """See the table."""
        return await self._revoke(call, RevocationReason.UNSPECIFIED)

    async def revoke_key(self, call: Call) -> Answer:
        """See the table."""
        reason = RevocationReason(call.body.reason)
        if not call.body.cascade:
            return await self._revoke(call, reason)
        stopped, swept = await self._administration.revoke_family(call.asker, call.params["key_id"], reason)
        return self._stopped(stopped, "revoked", cascade=swept.to_document())

    async def revoke_all_of_user(self, call: Call) -> Answer:
        """See the table."""
        reason = RevocationReason(call.body.reason)
        swept = await self._administration.revoke_all(
            call.asker, call.params["user_id"], reason, cascade=call.body.cascade
        )
        return json_answer(200, swept.to_document())

    async def show_usage(self, call: Call) -> Answer:
        """See the table."""
        _, record = await self._administration.show(call.asker, call.params["key_id"], Action.USAGE)
        usage = await self._deployment.usage.usage(record.key_id, call.query.days)
        return json_answer(200, usage.to_document())

    async def report_usage(self, call: Call) -> Answer:
        """See the table."""
        owner, record = await self._administration.show(call.asker, call.params["key_id"], Action.REPORT_USAGE)
        reported = Reported(**call.body.model_dump())
        try:
            async with self._deployment.repeats.once(_tag_of(call)) as first:
                if first and reported.cost_cents:
                    await self._deployment.metering.charge(record, owner, reported.cost_cents)
                if first:
                    self._deployment.recorder.report(record.key_id, reported)
        except RequestReusedError as other:
            raise RequestError("invalid_request", str(other), status=422) from other
        return Answer(204, NO_STORE)

    async def list_events(self, call: Call) -> Answer:
        """See the table."""
        _, record = await self._administration.show(call.asker, call.params["key_id"], Action.EVENTS)
        page = await self._deployment.recent.of_key(
            record.key_id, limit=call.query.limit, before=call.query.cursor or ""
        )
        document: dict[str, Any] = {"events": [event.to_document() for event in page.events]}
        return json_answer(200, {**document, "next_cursor": page.next} if page.next else document)

    async def verify_keys(self, call: Call) -> Answer:
        """See the table."""
        self._administration.check(call.asker, Action.VERIFY_BATCH)
        return json_answer(200, {"results": [await self._verified(call, text) for text in call.body.keys]})

    async def whoami(self, call: Call) -> Answer:
        """See the table."""
        caller = call.asker.caller
        document: dict[str, Any] = {
            "kind": caller.kind.value,
            "actor": caller.actor,
            "subject": caller.subject or None,
            "username": caller.username or None,
            "roles": sorted(role.value for role in caller.roles),
            "tenants": sorted(caller.tenants),
        }
        ceiling = {} if caller.ceiling is None else {"key_id": caller.ceiling.key_id}
        return json_answer(200, document | ceiling)

    def new_request(self, call: Call, owner: str) -> KeyRequest:
        """Return what is asked for of a new key of that owner, but for its policy."""
        return KeyRequest(
            owner=owner,
            name=call.body.name,
            issued_by="",
            environment=call.body.environment,
            expires_at=self._end_of_new(call),
            policy=Policy(),
            tag=_tag_of(call),
        )

    async def _issue(self, call: Call, owner: str) -> Answer:
        sent = call.body.model_dump(exclude_unset=True)
        request = self.new_request(call, owner)
        try:
            async with self._deployment.repeats.once(request.tag):
                issued = await self._administration.issue(call.asker, request, policy_fields(sent))
        except RequestReusedError as done:
            return await self._done_before(call, done, Action.ISSUE)
        # The one moment the holder gets it.
        answer = self._shown(issued.owner, issued.record, status=201, api_key=issued.key.reveal())
        location = f"{self._deployment.rules.api_audience}/keys/{issued.record.key_id}"
        return replace(answer, headers=(*answer.headers, (b"location", location.encode())))

    async def _revoke(self, call: Call, reason: RevocationReason) -> Answer:
        key_id = call.params["key_id"]
        return self._stopped(await self._administration.revoke(call.asker, key_id, reason), "revoked")

    async def _done_before(self, call: Call, done: RequestReusedError, action: Action) -> Answer:
        if not done.same:
            raise RequestError("invalid_request", str(done), status=422) from done
        return self._shown(*await self._administration.show(call.asker, done.key_id, action), note=_DONE_BEFORE)

    async def _verified(self, call: Call, text: str) -> dict[str, Any]:
        # What a proxy said is of whoever asks for many keys, not of who will use them: policies on requests stay unmet.
        context = replace(call.asker.context, door="verify-batch", facts=None)
        try:
            verdict = await self._deployment.verifier.verify(text, context)
        except KeyRefusedError:
            return {"active": False}
        record, owner = verdict.record, verdict.owner
        return {
            "active": True,
            "key_id": record.key_id,
            "owner": owner.username,
            "owner_id": owner.id,
            "scopes": list(held_scopes(record, owner, context.rules)),
            "expires_at": format_moment(record.expires_at) if record.expires_at else None,
        }

    async def _last_use(self, key_id: str) -> dict[str, Any]:
        """Return when and from where a key was used last; nothing while nobody can tell."""
        try:
            used = (await self._deployment.usage.usage(key_id, 1)).to_document()
        except CannotTellError:
            return {}
        return {name: used[name] for name in ("last_used_at", "last_used_ip") if used[name] is not None}

    def _fits(self, asked: Any, owner: Owner, record: KeyRecord) -> bool:  # noqa: ANN401 - a Listing
        document = key_document(owner, record, self._clock())
        wanted = {"status": asked.status, "tenant": asked.tenant, "name": asked.name}
        return all(value is None or document.get(name) == value for name, value in wanted.items())

    def _end_of_new(self, call: Call) -> datetime | None:
        """Return when a new key ends: if nothing is asked, not after the key that calls, which may give no more."""
        if call.body.expires is not None:
            return self._expiry(call.body.expires)
        ceiling = call.asker.caller.ceiling
        default = self._deployment.expiry(None, self._clock())
        ends = [default, None if ceiling is None else ceiling.expires_at]
        return min((each for each in ends if each is not None), default=None)

    def _expiry(self, text: str | None) -> datetime | None:
        return None if text is None else parse_expiry(text, self._clock())

    def _shown(self, owner: Owner, record: KeyRecord, *, status: int = 200, **more: Any) -> Answer:  # noqa: ANN401 - JSON
        etag: Header = (b"etag", etag_of(record).encode())
        return json_answer(status, {**more, **key_document(owner, record, self._clock())}, etag)

    def _stopped(self, stopped: StoppedKey, status: str, **more: Any) -> Answer:  # noqa: ANN401 - JSON
        if stopped.held is None:
            return json_answer(202, {"key_id": stopped.key_id, "status": status, "pending": True, **more})
        return self._shown(*stopped.held, **more)

    def _page(self, keys: list[tuple[Owner, KeyRecord]], place: Place | None) -> Answer:
        now = self._clock()
        document: dict[str, Any] = {"keys": [key_document(owner, record, now) for owner, record in keys]}
        return json_answer(200, document if place is None else {**document, "next_cursor": write_cursor(place)})


def _grace(asked: int | str) -> timedelta:
    """Return the grace that was asked for: seconds, or a text as on the command line."""
    grace = parse_duration(str(asked))
    if grace is None:
        raise PolicyRefusedError("a grace is like 0, 90s, 12h or 7d", "grace")
    return grace


def policy_fields(sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a policy that were sent; `null` stands for the default."""
    defaults = Policy()
    fields: dict[str, Any] = {}
    for name, value in sent.items():
        if name in _NOT_POLICY:
            continue
        if isinstance(value, list):
            fields[name] = tuple(value if name == "capabilities" else dict.fromkeys(value))
        else:
            fields[name] = getattr(defaults, name) if value is None else value
    return fields


def _tags_of(call: Call) -> frozenset[str]:
    """Return the entity tags in If-Match, none without it. Whatever else stands there is the tag of no key."""
    sent = call.headers.get("if-match")
    return frozenset() if sent is None else frozenset(tag.strip() for tag in sent.split(","))


def _tag_of(call: Call) -> RequestTag | None:
    """Return what knows this request again when it is sent twice: by its key, and by its body."""
    key = call.headers.get("idempotency-key")
    if key is None:
        return None
    caller = call.asker.caller
    sender = f"{caller.kind}\0{caller.actor}\0{call.asker.context.path}\0{key}"
    name, body = (hashlib.sha256(part).hexdigest()[:24] for part in (sender.encode(), call.raw_body))
    return RequestTag(name, body)
