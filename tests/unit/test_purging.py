"""What a purge does to records, and that no purge ever brings a key back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.authority.alterations import Wanted
from keystile.authority.purging import KEPT_WHOLE, Purged, Purger
from keystile.documents import status_of
from keystile.errors import ChangeRefusedError, KeyRefusedError, Reason
from keystile.records import MAX_TOMBSTONES, KeyRecord, Owner, RevocationReason, Status
from keystile.restrictions import Policy
from unit.builders import DAY, NOW, a_record, an_owner
from unit.strategies import live_records

if TYPE_CHECKING:
    from keystile.authority.lifecycle import IssuedKey
    from unit.world import World


def purger(world: World) -> Purger:
    return Purger(directory=world.store, auditor=world.here.verifier.auditor, clock=world.time.now)


async def stored(world: World, issued: IssuedKey) -> Owner:
    owner = await world.store.owner(issued.owner.id)
    assert owner is not None
    return owner


async def expired_long_ago(world: World, policy: Policy | None = None) -> IssuedKey:
    """Issue a key and let it expire, and a month go by."""
    issued = await world.issue(expires_at=world.time.now() + DAY, policy=policy or Policy())
    await world.pass_time((DAY + KEPT_WHOLE).total_seconds() + 1)
    return issued


async def reason(world: World, issued: IssuedKey) -> Reason:
    with pytest.raises(KeyRefusedError) as refused:
        await world.verify(issued.key)
    return refused.value.reason


@given(record=live_records)
def test_tombstone_of_an_expired_key_knows_it_and_grants_nothing(record: KeyRecord) -> None:
    """Id, digest and dates stay, what it could do is gone, and its text form is read again."""
    dead = record.expired()
    assert (dead.key_id, dead.digest, dead.digest_pepper) == (record.key_id, record.digest, record.digest_pepper)
    assert (dead.bcrypt, dead.policy, dead.earlier, dead.gen) == ("", Policy(), (), record.gen + 1)
    assert not dead.is_live(NOW - timedelta(days=700_000))  # whatever the clock says
    assert status_of(dead, NOW) == "expired"
    assert KeyRecord.from_text(dead.to_text()) == dead


def test_only_what_expired_before_is_shrunk() -> None:
    """Live keys, those that expired lately and those of the older form are left as they are."""
    ends = {"alive": None, "later": NOW + DAY, "lately": NOW - DAY, "long": NOW - 40 * DAY}
    owner = an_owner(*(a_record(key_id=name, expires_at=end) for name, end in ends.items()))
    owner = owner.with_record(a_record(key_id="older", expires_at=NOW - 40 * DAY, older_hash="ab"))
    after = owner.purged(NOW - KEPT_WHOLE)
    assert {record.key_id for record in after.records if record.is_dead} == {"long"}
    assert "long" in after.lookups
    assert after.purged(NOW - KEPT_WHOLE) is after


@given(dead=st.integers(0, 12), expired=st.integers(0, 12))
def test_ten_tombstones_stay_whatever_they_died_of(dead: int, expired: int) -> None:
    """The latest ten, of revoked and expired keys together; each record is shrunk, dropped, or as it was."""
    ends = [NOW - 60 * DAY + n * DAY for n in range(12)]
    why = RevocationReason.UNSPECIFIED
    revoked = (a_record(key_id=f"r{n}").revoked(ends[n], why, 0) for n in range(dead))
    ended = (a_record(key_id=f"e{n}", expires_at=ends[n]) for n in range(expired))
    owner = an_owner(a_record(), *revoked, *ended)
    after = owner.purged(NOW - KEPT_WHOLE)
    done = Purged.between(owner, after)
    assert len(after.records) == 1 + min(MAX_TOMBSTONES, dead + expired)
    assert len(done.dropped) == max(0, dead + expired - MAX_TOMBSTONES)
    assert set(done.shrunk) == {record.key_id for record in after.records if record.status is Status.EXPIRED}
    assert after.record("k3v9x0q2m7ab") == a_record()


async def test_purged_key_is_still_known_and_refused(world: World) -> None:
    """Whoever presents it is told nothing new, and the audit log still says which key it was."""
    issued = await expired_long_ago(world)
    assert await reason(world, issued) is Reason.EXPIRED
    done = await purger(world).purge(await stored(world, issued), by="cli:root")
    assert done == Purged(shrunk=(issued.record.key_id,))
    await world.start(always_bcrypt=True)
    for process in world.processes:
        with pytest.raises(KeyRefusedError) as refused:
            await world.verify(issued.key, process)
        assert (refused.value.reason, refused.value.key_id) == (Reason.EXPIRED, issued.record.key_id)
    (purged,) = [event for event in world.audit.events if event.event == "key_purged"]
    assert (purged.outcome, purged.key_id, purged.owner, purged.detail) == (
        "shrunk", issued.record.key_id, "alice", {"by": "cli:root"},
    )  # fmt: skip


async def test_purged_key_never_comes_back(world: World) -> None:
    """It is not resumed, changed or rotated; a clock set back and an old console page do not help it either."""
    issued = await expired_long_ago(world, policy=Policy(allowed_ips=("192.0.2.0/24",)))
    await purger(world).purge(await stored(world, issued))
    alterations, key_id = world.here.alterations, issued.record.key_id
    for attempt in (
        alterations.resume(key_id, by="x"),
        alterations.alter(key_id, Wanted(policy={}, expires=True, expires_at=world.time.now() + DAY), by="x"),
        alterations.rotate(key_id, grace=timedelta(0), by="x"),
    ):
        with pytest.raises(ChangeRefusedError, match="expired"):
            await attempt
    world.time.passed = 0.0
    assert await reason(world, issued) is Reason.EXPIRED
    world.time.passed = 100 * DAY.total_seconds()
    await world.write(issued.owner.id, issued.record)
    assert await reason(world, issued) is Reason.EXPIRED


async def test_revoking_a_purged_key_is_possible(world: World) -> None:
    """Once known as stolen it is told so from then on."""
    issued = await expired_long_ago(world)
    await purger(world).purge(await stored(world, issued))
    await world.here.lifecycle.revoke(issued.record.key_id, reason=RevocationReason.KEY_COMPROMISE, revoked_by="x")
    assert await reason(world, issued) is Reason.REVOKED


async def test_second_purge_does_nothing(world: World) -> None:
    """What is purged is audited once; nothing is written where nothing is due."""
    issued = await expired_long_ago(world)
    assert await purger(world).visit(await stored(world, issued)) == 1
    told = len(world.audit.events)
    assert await purger(world).visit(await stored(world, issued)) == 0
    assert len(world.audit.events) == told


async def test_changed_meanwhile_is_judged_as_it_is(world: World) -> None:
    """What was due when the owner was read, and is not when it is written, stays."""
    issued = await expired_long_ago(world)
    seen = await stored(world, issued)
    await world.write(issued.owner.id, replace(issued.record, gen=9, expires_at=world.time.now() + DAY))
    assert await purger(world).purge(seen) == Purged()
    assert (await world.verify(issued.key)).record.key_id == issued.record.key_id


async def test_tombstone_that_makes_room_is_audited(world: World) -> None:
    """The eleventh revoke of an owner drops the first tombstone, and says so."""
    keys = [await world.issue() for _ in range(MAX_TOMBSTONES + 1)]
    for number, issued in enumerate(keys):
        world.time.passed = float(number)
        await world.here.lifecycle.revoke(
            issued.record.key_id, reason=RevocationReason.UNSPECIFIED, revoked_by="cli:root"
        )
    purged = [(event.key_id, event.outcome) for event in world.audit.events if event.event == "key_purged"]
    assert purged == [(keys[0].record.key_id, "dropped")]
