"""The machine: what may happen to keys, and what must be true after each step."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import floor, inf
from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, precondition, rule

from keystile.authority.alterations import Wanted
from keystile.authority.lifecycle import KeyRequest
from keystile.errors import ChangeRefusedError, KeyUnknownError, RecordTooLargeError
from keystile.records import MAX_TEXT, KeyRecord, RevocationReason, Status
from keystile.restrictions import Policy
from machine.model import Key, Model
from machine.stand import MOST_LIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from contextlib import AbstractAsyncContextManager

    from hypothesis.stateful import MultipleResults

    from keystile.records import Owner
    from machine.stand import Side, Stand

Answer = TypeVar("Answer")

_ROOMY = 30  # projects that always fit into a record beside all else
_MANY = [74, 75, 76, 77, 78, 79, 80, 82, 84]  # about as many as a record holds, and more
places = st.integers(0, 1)
scope_sets = st.frozensets(st.sampled_from(["read", "write", "run"]))
lives = st.sampled_from([inf, inf, 2.5, 100.0, 600.0, 90_000.0])  # seconds until a key expires
graces = st.sampled_from([0.0, 0.0, 1.0, 60.0, 400.0, 86_400.0])


class KeyLives(RuleBasedStateMachine):
    """Does to keys what may be done to them; a refusal must be the model's, and nothing else changes anything."""

    keys: Bundle[str] = Bundle("keys")

    def __init__(self, open_stand: Callable[[], AbstractAsyncContextManager[Stand]], steps: Sequence[float]) -> None:
        """Open a stand of its own; *steps* are the spans in seconds by which time passes at most."""
        super().__init__()
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._steps = steps
        self.model = Model(MOST_LIVE)
        self.stand = self._run(self._stack.enter_async_context(open_stand()))

    def teardown(self) -> None:
        """Close the stand."""
        self._run(self._stack.aclose())
        self._runner.close()

    @rule(target=keys, place=places, owner=places, scopes=scope_sets, life=lives)
    def issue(self, place: int, owner: int, scopes: frozenset[str], life: float) -> str | MultipleResults[str]:
        """Issue a key, which is refused once the owner has as many live ones as may be."""
        username, now = self.stand.owners[owner], self.stand.now
        key = Key(username, "laptop", scopes, floor(now + life) if life < inf else inf)
        request = KeyRequest(
            owner=username, name=key.name, issued_by="test", expires_at=_moment(key.expires), policy=_policy(key)
        )
        issued = self._do(
            self._side(place).lifecycle.issue(request), allowed=self.model.live_of(username, now) < MOST_LIVE
        )
        if issued is None:
            return multiple()
        self.model.issued(issued.record.key_id, issued.key.reveal(), key)
        self._check_stored(issued.record)
        return issued.record.key_id

    @rule(place=places, key_id=keys, back=st.integers(0, 2))
    def mint(self, place: int, key_id: str, back: int) -> None:
        """Make a JWT for one of the key's secrets, if it still is good."""
        secret, now = (self.model.secrets_of(key_id) * 3)[-1 - back], self.stand.now
        if self.model.scopes_by_secret(secret, now) is not None:
            self.model.minted(secret, self._run(self._side(place).mint(secret)), now)

    @rule(place=places, key_id=keys)
    def suspend(self, place: int, key_id: str) -> None:
        """Suspend a key, which may be so already, or expired; nothing but a revoked one is refused."""
        allowed = self.model.keys[key_id].status != "revoked"
        stopped = self._do(self._side(place).lifecycle.suspend(key_id, suspended_by="test"), allowed=allowed)
        if stopped is not None:
            assert stopped.held is not None
            self._check_stored(stopped.held[1])
            self.model.stopped(key_id, "suspended")

    @rule(place=places, key_id=keys)
    def resume(self, place: int, key_id: str) -> None:
        """Resume a key; one that is not suspended stays as it is, and its JWTs live on."""
        allowed = self.model.is_live(key_id, self.stand.now)
        resumed = self._do(self._side(place).alterations.resume(key_id, by="test"), allowed=allowed)
        if resumed is not None:
            self._check_stored(resumed[1])
            self.model.resumed(key_id)

    @rule(place=places, key_id=keys, grace=graces)
    def rotate(self, place: int, key_id: str, grace: float) -> None:
        """Give a key a new secret."""
        now = self.stand.now
        rotated = self._do(
            self._side(place).alterations.rotate(key_id, grace=timedelta(seconds=grace), by="test"),
            allowed=self.model.is_live(key_id, now),
            roomy=self.model.keys[key_id].projects <= _ROOMY,
        )
        if rotated is not None:
            self._check_stored(rotated.record)
            self.model.rotated(key_id, rotated.key.reveal(), grace, now)

    @rule(place=places, key_id=keys, reason=st.sampled_from(RevocationReason))
    def revoke(self, place: int, key_id: str, reason: RevocationReason) -> None:
        """Revoke a key for ever; once more does no harm, though its tombstone may be gone."""
        again = self.model.keys[key_id].status == "revoked"
        operation = self._side(place).lifecycle.revoke(key_id, reason=reason, revoked_by="test")
        try:
            stopped = self._run(operation)
        except KeyUnknownError:
            assert again
            return
        assert stopped.held is not None
        self._check_stored(stopped.held[1])
        self.model.stopped(key_id, "revoked")

    @rule(place=places, key_id=keys, scopes=scope_sets)
    def change_scopes(self, place: int, key_id: str, scopes: frozenset[str]) -> None:
        """Let a key do more, less, or something else."""
        self._alter(place, key_id, scopes=scopes)

    @rule(place=places, key_id=keys, projects=st.sampled_from([0, 1, 2, _ROOMY, *_MANY]))
    def confine(self, place: int, key_id: str, projects: int) -> None:
        """Confine a key to projects, of which there may be more than a record holds."""
        self._alter(place, key_id, projects=projects)

    @rule(place=places, key_id=keys, tokens=st.sampled_from([inf, 0, 1, 2]))
    def bound_tokens(self, place: int, key_id: str, tokens: float) -> None:
        """Set a number in a policy, or take it away."""
        self._alter(place, key_id, tokens=tokens)

    @rule(place=places, key_id=keys, name=st.sampled_from(["laptop", "desk", "Zoë's \U0001f511"]))
    def rename(self, place: int, key_id: str, name: str) -> None:
        """Call a key otherwise."""
        self._alter(place, key_id, name=name)

    @rule(place=places, key_id=keys, life=lives)
    def change_expiry(self, place: int, key_id: str, life: float) -> None:
        """Let a key expire earlier, later or never."""
        self._alter(place, key_id, expires=floor(self.stand.now + life) if life < inf else inf)

    @rule(data=st.data())
    def wait(self, data: st.DataObject) -> None:
        """Let time pass: most often to where something ends, else as it comes."""
        now = self.stand.now
        ends = {float(span) for span in (until - now for until in self._ends()) if 0 < span <= max(self._steps)}
        self._run(self.stand.pass_time(data.draw(st.sampled_from([*sorted(ends), *self._steps]), "seconds")))

    @rule(place=places)
    def restart(self, place: int) -> None:
        """Put a process that knows nothing in the place of one that knew all."""
        self.stand.sides[place] = self._run(self.stand.restart(self._side(place)))

    @precondition(lambda self: self.stand.lose_log is not None)
    @rule()
    def lose_log(self) -> None:
        """Lose the change log: what it said is in the records, and in whoever heard it."""
        if self.stand.lose_log is not None:
            self.stand.lose_log()

    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        """Compare every secret, every JWT and every record."""
        self._run(self._check())

    async def _check(self) -> None:
        for side in (*self.stand.sides, *self.stand.sides):  # twice: what the first says last, the second hears
            await side.hear()
        now = self.stand.now
        for place, side in enumerate(self.stand.sides):
            for number, text in enumerate(self.model.secrets):
                expected = self.model.scopes_by_secret(text, now)
                assert await side.scopes_by_secret(text) == expected, f"secret {number} in process {place}"
            for number, text in enumerate(self.model.jwts):
                expected = self.model.scopes_by_jwt(text, now)
                assert await side.scopes_by_jwt(text) == expected, f"JWT {number} in process {place}"
        for username in self.stand.owners:
            self._check_owner(await self.stand.store.owner_named(username), username)

    def _check_owner(self, owner: Owner | None, username: str) -> None:
        mine = {key_id: key for key_id, key in self.model.keys.items() if key.owner == username}
        if owner is None:
            assert not mine
            return
        now = self.stand.now
        assert not owner.unreadable
        assert owner.live(self.stand.clock()) == self.model.live_of(username, now) <= MOST_LIVE
        for record in owner.records:
            _check_size(record)
            _check_record(record, mine[record.key_id])
        assert {key_id for key_id, key in mine.items() if key.status != "revoked"} <= {
            record.key_id for record in owner.records
        }

    def _alter(self, place: int, key_id: str, **changes: Any) -> None:  # noqa: ANN401 - fields of the model's key
        before, now = self.model.keys[key_id], self.stand.now
        after = replace(before, **changes)
        policy = {name: getattr(_policy(after), name) for name in changes.keys() & _FIELDS for name in [_FIELDS[name]]}
        altered = self._do(
            self._side(place).alterations.alter(
                key_id,
                Wanted(
                    name=changes.get("name"),
                    policy=policy,
                    expires="expires" in changes,
                    expires_at=_moment(after.expires),
                ),
                by="test",
            ),
            allowed=self.model.is_live(key_id, now) and not ("expires" in changes and after.expires <= now),
            roomy=max(before.projects, after.projects) <= _ROOMY,
        )
        if altered is not None:
            self._check_stored(altered[1])
            self.model.changed(key_id, after)

    def _do(self, operation: Coroutine[Any, Any, Answer], *, allowed: bool, roomy: bool = True) -> Answer | None:
        """Return what *operation* answers, None if it was refused: as it must be where it is not allowed.

        It may also be refused where its record would not be *roomy*.
        """
        try:
            answer = self._run(operation)
        except RecordTooLargeError:
            assert not roomy
            return None
        except ChangeRefusedError as refused:
            assert not allowed, refused
            return None
        assert allowed, "it was not refused"
        return answer

    def _check_stored(self, written: KeyRecord) -> None:
        """A record that was written is the one that is read."""
        _, stored = self._run(self._side(0).lifecycle.show(written.key_id))
        assert stored == written

    def _ends(self) -> list[float]:
        now_or_never = [key.expires for key in self.model.keys.values()]
        return now_or_never + [held.until for held in (*self.model.secrets.values(), *self.model.jwts.values())]

    def _side(self, place: int) -> Side:
        return self.stand.sides[place]

    def _run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        return self._runner.run(work)


_FIELDS = {"scopes": "scopes", "projects": "projects", "tokens": "max_tokens_per_request"}


def _policy(key: Key) -> Policy:
    return Policy(
        scopes=tuple(sorted(key.scopes)),
        projects=tuple(f"{number:046}" for number in range(key.projects)),
        max_tokens_per_request=None if key.tokens == inf else int(key.tokens),
    )


def _moment(seconds: float) -> datetime | None:
    return None if seconds == inf else datetime.fromtimestamp(seconds, UTC)


def _check_size(record: KeyRecord) -> None:
    text = record.to_text()
    assert len(text.encode("utf-16-le")) // 2 <= MAX_TEXT
    assert KeyRecord.from_text(text) == record


def _check_record(record: KeyRecord, key: Key) -> None:
    assert record.status.value == key.status
    if record.status is not Status.REVOKED:
        held = (record.name, record.policy, record.expires_at)
        assert held == (key.name, _policy(key), _moment(key.expires))
