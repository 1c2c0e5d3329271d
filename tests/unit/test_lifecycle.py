from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from keystile.authority import lifecycle as module
from keystile.changes import ALL_GENERATIONS, FLOOR_TTL, Change
from keystile.digests import bcrypt_matches, digest_matches
from keystile.errors import (
    CannotTellError,
    ChangeRefusedError,
    KeyUnknownError,
    PolicyRefusedError,
    RecordTooLargeError,
    RequestReusedError,
    TooManyKeysError,
)
from keystile.records import RequestTag, RevocationReason, Status
from keystile.restrictions import Policy
from unit.builders import DEFAULT_AUDIENCE, PEPPERS, a_record, rules

if TYPE_CHECKING:
    from unit.world import World


async def revoke(world: World, key_id: str, reason: RevocationReason = RevocationReason.UNSPECIFIED) -> object:
    return await world.here.lifecycle.revoke(key_id, reason=reason, revoked_by="test")


async def said(world: World) -> list[Change]:
    return list((await world.log.read(None)).changes)


async def test_issued_key_is_kept_as_hashes_only(world: World) -> None:
    """The store holds digest and bcrypt of the whole key, who asked for it, and no part of its secret."""
    issued = await world.issue(issued_by="cli:root", policy=Policy(scopes=("read",)))
    (owner,) = await world.store.find(issued.record.key_id)
    assert owner.records == (issued.record,)
    assert owner.lookups == {issued.record.key_id}
    record = issued.record
    assert (record.gen, record.status, record.issued_by, record.stamp_pepper) == (1, Status.ACTIVE, "cli:root", "p1")
    assert digest_matches(issued.key, PEPPERS.current, record.digest)
    assert bcrypt_matches(issued.key, record.bcrypt)
    text = record.to_text()
    assert not any(issued.key.reveal()[start : start + 8] in text for start in range(25, 56))


async def test_issue_is_said_and_audited(world: World) -> None:
    """Everybody hears of a new key, so that no remembered refusal stands against it."""
    issued = await world.issue()
    (change,) = await said(world)
    assert (change.key_id, change.owner_id, change.gen, change.kills_below) == (
        issued.record.key_id,
        issued.owner.id,
        1,
        0,
    )
    (event,) = world.audit.events
    assert (event.event, event.key_id, event.owner) == ("key_issued", issued.record.key_id, "alice")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "a" * 101},
        {"name": "a\nb"},
        {"name": "\ud800"},
        {"expires_at": "now"},
        {"policy": Policy(audiences=("https://forbidden.example.com/x",))},
        {"policy": Policy(scopes=("unknown",))},
        {"policy": Policy(projects=tuple(f"{number:0250}" for number in range(16)))},
        {"policy": Policy(allowed_ips=("10.0.0.1/8",))},
        {"policy": Policy(blocked_endpoints=("/admin",))},
    ],
    ids=str,
)
async def test_key_that_could_not_work_is_not_issued(world: World, changes: dict[str, Any]) -> None:
    """What is refused leaves nothing behind: no record and no word in the log."""
    strict = rules(scopes=frozenset({"read"}), forbidden_audiences=("https://forbidden.example.com",))
    object.__setattr__(world.here.lifecycle, "rules", strict)
    asked = {**changes, "expires_at": world.time.now()} if "expires_at" in changes else changes
    with pytest.raises(ChangeRefusedError):
        await world.issue(**asked)
    owner = await world.store.owner_named("alice")
    assert owner is None or not owner.records
    assert await said(world) == []


async def test_default_audience_may_always_be_listed(world: World) -> None:
    """Naming the audience that needs no naming is no fault."""
    assert (await world.issue(policy=Policy(audiences=(DEFAULT_AUDIENCE,)))).record.policy.audiences


async def test_owner_has_a_limited_number_of_live_keys(world: World) -> None:
    """Only live keys count: a revoked or expired one makes room."""
    object.__setattr__(world.here.lifecycle, "max_keys_per_owner", 2)
    first = await world.issue()
    await world.issue(expires_at=world.time.now() + timedelta(hours=1))
    with pytest.raises(TooManyKeysError):
        await world.issue()
    await world.issue(owner="bob")
    await revoke(world, first.record.key_id)
    await world.issue()
    with pytest.raises(TooManyKeysError):
        await world.issue()
    await world.pass_time(3_600)
    await world.issue()


async def test_a_refused_issue_costs_no_bcrypt(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for one key too many, or for the same once more, is refused before anything expensive runs."""
    object.__setattr__(world.here.lifecycle, "max_keys_per_owner", 2)
    await world.issue(tag=RequestTag("one", "body"))
    monkeypatch.setattr(type(world.here.lifecycle.prover), "new_secret", None)
    with pytest.raises(RequestReusedError):
        await world.issue(tag=RequestTag("one", "body"))
    monkeypatch.undo()
    await world.issue()
    monkeypatch.setattr(type(world.here.lifecycle.prover), "new_secret", None)
    with pytest.raises(TooManyKeysError):
        await world.issue()


@pytest.mark.parametrize("field", ["owner", "name", "projects", "tenant"])
async def test_a_key_is_no_name(world: World, field: str) -> None:
    """An API key given as a name is refused by the field it stands in, not repeated, and nobody becomes an owner."""
    key = (await world.issue()).key.reveal()
    kept = {"projects": (key,)} if field == "projects" else {"tenant": key}
    wanted: dict[str, Any] = {field: key} if field in ("owner", "name") else {"policy": Policy(**kept)}
    with pytest.raises(PolicyRefusedError) as refused:
        await world.issue(**wanted)
    assert refused.value.fields == {field}
    assert key[25:] not in str(refused.value)
    assert await world.store.owner_named(key.lower()) is None


async def test_too_large_a_key_asks_nothing_of_the_store(world: World) -> None:
    """The size is checked before an owner is changed."""
    with pytest.raises(RecordTooLargeError):
        await world.issue(policy=Policy(audiences=tuple(f"urn:{number:0250}" for number in range(16))))
    owner = await world.store.owner_named("alice")
    assert owner is None or owner.records == ()


async def test_revoke_is_said_before_it_is_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The word bites at once, as pending; the record follows, and then the word that nothing is pending."""
    issued = await world.issue()
    order: list[str] = []
    append, update = world.log.append, world.store.update

    async def saying(change: Change) -> object:
        order.append("said")
        return await append(change)

    async def writing(*arguments: Any, **named: Any) -> object:  # noqa: ANN401 - passed on
        order.append("written urgently" if named.get("urgent") else "written")
        return await update(*arguments, **named)

    monkeypatch.setattr(world.log, "append", saying)
    monkeypatch.setattr(world.store, "update", writing)
    await revoke(world, issued.record.key_id, RevocationReason.KEY_COMPROMISE)
    assert order == ["said", "written urgently", "said"]


async def test_revoke_kills_every_generation_and_leaves_a_floor(world: World) -> None:
    """The entry kills all that was handed out, and its floor lasts 400 days, or as long as the key would have."""
    now = world.time.now()
    for expires_at, until in (
        (None, now.timestamp() + FLOOR_TTL),
        (now + timedelta(days=4_000), (now + timedelta(days=4_000)).timestamp()),
    ):
        issued = await world.issue(expires_at=expires_at)
        await revoke(world, issued.record.key_id)
        change = (await said(world))[-1]
        assert (change.kills_below, change.dead, change.floor_until) == (ALL_GENERATIONS, True, until)
        assert (change.key_id, change.owner_id, change.gen) == (issued.record.key_id, issued.owner.id, 2)


async def test_revoked_record_is_a_tombstone(world: World) -> None:
    """What stays says when and why, and is found by its key id."""
    issued = await world.issue(policy=Policy(scopes=("read",)))
    await world.pass_time(60)
    await revoke(world, issued.record.key_id, RevocationReason.SUPERSEDED)
    _, record = await world.here.lifecycle.show(issued.record.key_id)
    assert (record.status, record.revoked_reason) == (Status.REVOKED, RevocationReason.SUPERSEDED)
    assert (record.revoked_at, record.gen, record.policy, record.bcrypt) == (world.time.now(), 2, Policy(), "")


async def test_revoking_twice_is_as_good_as_once(world: World) -> None:
    """The first date and reason stay; the word is said once more, lest the first one was lost."""
    issued = await world.issue()
    await revoke(world, issued.record.key_id, RevocationReason.KEY_COMPROMISE)
    before, entries = await world.here.lifecycle.show(issued.record.key_id), await said(world)
    await world.pass_time(60)
    await revoke(world, issued.record.key_id, RevocationReason.SUPERSEDED)
    assert await world.here.lifecycle.show(issued.record.key_id) == before
    again = (await said(world))[len(entries) :]
    assert [(change.key_id, change.gen, change.dead) for change in again] == [(issued.record.key_id, 2, True)]


async def test_revoke_that_meets_another_keeps_the_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two at the same moment the one that is written first gives date and reason."""
    issued = await world.issue()
    first = issued.record.revoked(world.time.now(), RevocationReason.KEY_COMPROMISE, 0)
    update = world.store.update

    async def late(*arguments: Any, **named: Any) -> object:  # noqa: ANN401 - passed on
        monkeypatch.setattr(world.store, "update", update)
        await world.write(issued.owner.id, first)
        return await update(*arguments, **named)

    monkeypatch.setattr(world.store, "update", late)
    await world.pass_time(60)
    await revoke(world, issued.record.key_id, RevocationReason.SUPERSEDED)
    _, record = await world.here.lifecycle.show(issued.record.key_id)
    assert (record.revoked_reason, record.revoked_at) == (RevocationReason.KEY_COMPROMISE, first.revoked_at)


async def test_revoke_without_the_log_is_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log out of reach does not stop a revocation: the record dies, and here it bites at once."""
    issued = await world.issue()

    async def away(_change: Change) -> NoReturn:
        raise CannotTellError("the log is down")

    monkeypatch.setattr(world.log, "append", away)
    await revoke(world, issued.record.key_id)
    assert (await world.here.lifecycle.show(issued.record.key_id))[1].status is Status.REVOKED


@pytest.mark.parametrize("key_id", ["nobody", "", "%", "' OR 1=1"])
async def test_key_nobody_has_cannot_be_shown_or_revoked(world: World, key_id: str) -> None:
    """An unknown key id is an error that names it, and nothing is said about it."""
    await world.issue()
    before = await said(world)
    with pytest.raises(KeyUnknownError):
        await world.here.lifecycle.show(key_id)
    with pytest.raises(KeyUnknownError):
        await revoke(world, key_id)
    assert await said(world) == before


async def test_keys_are_listed(world: World) -> None:
    """By owner, oldest first, and all of them page by page."""
    first = await world.issue()
    await world.pass_time(5)
    second = await world.issue(name="second")
    other = await world.issue(owner="bob")
    owner, records = await world.here.lifecycle.keys_of("alice")
    assert (owner.username, records) == ("alice", (first.record, second.record))
    listed = {record.key_id for _, record in await world.here.lifecycle.all_keys()}
    assert listed == {first.record.key_id, second.record.key_id, other.record.key_id}
    with pytest.raises(ChangeRefusedError, match="nobody"):
        await world.here.lifecycle.keys_of("nobody")


def test_names_of_keys_are_bounded() -> None:
    """The longest name still leaves room for everything else in a record."""
    assert len(a_record(name="n" * module.MAX_NAME).to_text()) < 1_000
