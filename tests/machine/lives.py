"""The machine: what may happen to keys, and what must be true after each step."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import floor, inf
from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from keystile.authority.alterations import Wanted
from keystile.authority.lifecycle import KeyRequest
from keystile.errors import ChangeRefusedError, KeyUnknownError, RecordTooLargeError
from keystile.records import MAX_TEXT, MAX_TOMBSTONES, KeyRecord, RevocationReason, Status
from keystile.restrictions import Policy
from machine.model import Key, Model
from machine.stand import MOST_LIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from contextlib import AbstractAsyncContextManager

    from keystile.records import Owner
    from machine.stand import Side, Stand

Answer = TypeVar("Answer")

_ROOMY = 30  # audiences that always fit into a record beside all else
_MANY = [74, 75, 76, 77, 78, 79, 80, 82, 84]  # about as many as a record holds, and more
_LATEST, _LIVE = 6, 10  # of 12 choices of a key: see `KeyLives._key`
places = st.integers(0, 1)
keys = st.integers(0, 11)
scope_sets = st.frozensets(st.sampled_from(["read", "write", "run"]))
lives = st.sampled_from([*[inf] * 4, 90_000.0, 600.0, 100.0, 2.5])  # seconds until a key expires
_LONG = 86_400.0  # seconds
graces = st.sampled_from([60.0, 400.0, _LONG, 1.0])  # seconds
_FIELDS = {"scopes": "scopes", "audiences": "audiences", "tokens": "max_tokens_per_request"}
changes = st.fixed_dictionaries(
    {},
    optional={
        "scopes": scope_sets,
        "audiences": st.sampled_from([0, 1, 2, _ROOMY, *_MANY]),
        "tokens": st.sampled_from([inf, 0, 1, 2]),
        "name": st.sampled_from(["laptop", "desk", "Zoë's \U0001f511"]),
        "life": lives,
    },
)


class KeyLives(RuleBasedStateMachine):
    """Does to keys what may be done to them; a refusal must be the model's, and nothing else changes anything."""

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

    @initialize(scopes=scope_sets, rotations=st.integers(0, 3))
    def begin(self, scopes: frozenset[str], rotations: int) -> None:
        """Begin with a key that may have been rotated: then it has a secret in its grace, and perhaps ended ones."""
        self.issue(0, 0, scopes, inf)
        for _ in range(rotations):
            self._rotate(0, 0, _LONG)

    @rule(place=places, owner=places, scopes=scope_sets, life=lives)
    def issue(self, place: int, owner: int, scopes: frozenset[str], life: float) -> None:
        """Issue a key, which is refused once the owner has as many live ones as may be."""
        username, now = self.stand.owners[owner], self.stand.now
        key = Key(username, "laptop", scopes, floor(now + life) if life < inf else inf)
        request = KeyRequest(
            owner=username, name=key.name, issued_by="test", expires_at=_moment(key.expires), policy=_policy(key)
        )
        issued = self._do(
            self._side(place).lifecycle.issue(request), allowed=self.model.live_of(username, now) < MOST_LIVE
        )
        if issued is not None:
            self.model.issued(issued.record.key_id, issued.key.reveal(), key)
            self._check_stored(issued.record)

    @rule(place=places, which=keys)
    def mint(self, place: int, which: int) -> None:
        """Make one more JWT for each of a key's secrets that is good."""
        now = self.stand.now
        for secret in self.model.secrets_of(self._key(which)):
            if self.model.scopes_by_secret(secret, now) is not None:
                self.model.minted(secret, self._run(self._side(place).mint(secret)), now)

    @rule(place=places, which=keys)
    def suspend(self, place: int, which: int) -> None:
        """Suspend a key, which may be so already, or expired; nothing but a revoked one is refused."""
        key_id = self._key(which)
        allowed = self.model.keys[key_id].status != "revoked"
        stopped = self._do(self._side(place).lifecycle.suspend(key_id, suspended_by="test"), allowed=allowed)
        if stopped is not None:
            assert stopped.held is not None
            self._check_stored(stopped.held[1])
            self.model.stopped(key_id, "suspended")

    @rule(place=places, which=keys)
    def resume(self, place: int, which: int) -> None:
        """Resume a key; one that is not suspended stays as it is, and its JWTs live on."""
        key_id = self._key(which)
        allowed = self.model.is_live(key_id, self.stand.now)
        resumed = self._do(self._side(place).alterations.resume(key_id, by="test"), allowed=allowed)
        if resumed is not None:
            self._check_stored(resumed[1])
            self.model.resumed(key_id)

    @rule(place=places, which=keys, grace=graces)
    def rotate(self, place: int, which: int, grace: float) -> None:
        """Give a key a new secret; the one before is good for a while."""
        self._rotate(place, which, grace)

    @rule(place=places, which=keys)
    def rotate_at_once(self, place: int, which: int) -> None:
        """Give a key a new secret, and end all others."""
        self._rotate(place, which, 0.0)

    @rule(place=places, which=keys, reason=st.sampled_from(RevocationReason))
    def revoke(self, place: int, which: int, reason: RevocationReason) -> None:
        """Revoke a key for ever; once more does no harm, though its tombstone may be gone."""
        key_id = self._key(which)
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

    @rule(place=places, which=keys, wanted=changes)
    def change(self, place: int, which: int, wanted: dict[str, Any]) -> None:
        """Change what a key may do, until when, or how it is called."""
        key_id, now = self._key(which), self.stand.now
        before = self.model.keys[key_id]
        after = _after(before, wanted, now)
        altered = self._do(
            self._side(place).alterations.alter(key_id, _wanted(after, wanted), by="test"),
            allowed=self.model.is_live(key_id, now),
            roomy=max(before.audiences, after.audiences) <= _ROOMY,
        )
        if altered is not None:
            self._check_stored(altered[1])
            self.model.changed(key_id, after)

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
        for place, side in enumerate(self.stand.sides):
            await self._check_secrets(place, side)
        await self._mint_missing()
        for place, side in enumerate(self.stand.sides):
            await self._check_jwts(place, side)
        for username in self.stand.owners:
            self._check_owner(await self.stand.store.owner_named(username), username)

    async def _check_secrets(self, place: int, side: Side) -> None:
        for number, text in enumerate(self.model.secrets):
            expected = self.model.scopes_by_secret(text, self.stand.now)
            assert await side.scopes_by_secret(text) == expected, f"secret {number} in process {place}"

    async def _check_jwts(self, place: int, side: Side) -> None:
        for number, text in enumerate(self.model.jwts):
            expected = self.model.scopes_by_jwt(text, self.stand.now)
            assert await side.scopes_by_jwt(text) == expected, f"JWT {number} in process {place}"

    async def _mint_missing(self) -> None:
        """Make a JWT for every good secret that has none: it must be good at once."""
        now = self.stand.now
        have = {jwt.secret for text, jwt in self.model.jwts.items() if self.model.scopes_by_jwt(text, now) is not None}
        for number, secret in enumerate(list(self.model.secrets)):
            if secret not in have and self.model.scopes_by_secret(secret, now) is not None:
                self.model.minted(secret, await self._side(number % 2).mint(secret), now)

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
            _check_record(record, mine[record.key_id], now)
        gone = mine.keys() - {record.key_id for record in owner.records}
        assert not any(self.model.is_live(key_id, now) for key_id in gone)
        assert not gone or sum(record.is_dead for record in owner.records) == MAX_TOMBSTONES

    def _rotate(self, place: int, which: int, grace: float) -> None:
        key_id, now = self._key(which), self.stand.now
        rotated = self._do(
            self._side(place).alterations.rotate(key_id, grace=timedelta(seconds=grace), by="test"),
            allowed=self.model.is_live(key_id, now),
            roomy=self.model.keys[key_id].audiences <= _ROOMY,
        )
        if rotated is not None:
            self._check_stored(rotated.record)
            self.model.rotated(key_id, rotated.key.reveal(), grace, now)

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
            if allowed:
                raise AssertionError("it was refused") from refused
            return None
        assert allowed, "it was not refused"
        return answer

    def _check_stored(self, written: KeyRecord) -> None:
        """See that a record that was written is the one that is read."""
        _, stored = self._run(self._side(0).lifecycle.show(written.key_id))
        assert stored == written

    def _key(self, which: int) -> str:
        """Return mostly the latest live key, so that much happens to one; else another, or any, dead or alive."""
        every = list(reversed(self.model.keys))
        live = [key_id for key_id in every if self.model.is_live(key_id, self.stand.now)]
        among = live if live and which < _LIVE else every
        return among[max(0, which - _LATEST) % len(among)]

    def _ends(self) -> list[float]:
        model = self.model
        expiries = [key.expires for key in model.keys.values()]
        return [
            *expiries,
            *(held.until for held in model.secrets.values()),
            *(jwt.until for jwt in model.jwts.values()),
        ]

    def _side(self, place: int) -> Side:
        return self.stand.sides[place]

    def _run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        return self._runner.run(work)


def _after(before: Key, wanted: dict[str, Any], now: float) -> Key:
    """Return the model's key after a change; it is wanted to live for some seconds from *now*."""
    after = {name: value for name, value in wanted.items() if name != "life"}
    if "life" in wanted:
        after["expires"] = inf if wanted["life"] == inf else floor(now + wanted["life"])
    return replace(before, **after)


def _wanted(after: Key, wanted: dict[str, Any]) -> Wanted:
    policy = _policy(after)
    return Wanted(
        name=wanted.get("name"),
        policy={_FIELDS[name]: getattr(policy, _FIELDS[name]) for name in wanted if name in _FIELDS},
        expires="life" in wanted,
        expires_at=_moment(after.expires),
    )


def _policy(key: Key) -> Policy:
    return Policy(
        scopes=tuple(sorted(key.scopes)),
        audiences=tuple(f"urn:{number:042}" for number in range(key.audiences)),
        max_tokens_per_request=None if key.tokens == inf else int(key.tokens),
    )


def _moment(seconds: float) -> datetime | None:
    return None if seconds == inf else datetime.fromtimestamp(seconds, UTC)


def _check_size(record: KeyRecord) -> None:
    text = record.to_text()
    assert len(text.encode("utf-16-le")) // 2 <= MAX_TEXT
    assert KeyRecord.from_text(text) == record


def _check_record(record: KeyRecord, key: Key, now: float) -> None:
    if record.status is Status.EXPIRED:  # shrunk to make room for another
        assert now >= key.expires
        return
    assert record.status.value == key.status
    if record.status is not Status.REVOKED:
        held = (record.name, record.policy, record.expires_at)
        assert held == (key.name, _policy(key), _moment(key.expires))
