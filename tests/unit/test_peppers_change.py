from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from keystile.errors import KeyRefusedError, Reason
from keystile.keys import Stamps
from keystile.peppers import Peppers
from keystile.records import RevocationReason
from unit.builders import pepper, with_other_secret

if TYPE_CHECKING:
    from keystile.records import KeyRecord
    from unit.world import World


async def stored(world: World, key_id: str) -> KeyRecord:
    (owner,) = await world.store.find(key_id)
    record = owner.record(key_id)
    assert record is not None
    return record


async def test_digest_is_rewritten_after_a_pepper_change(world: World) -> None:
    """A key that is used after a change of peppers has its digest under the new one, without anybody waiting."""
    issued = await world.issue()
    rotated = await world.start(Peppers((pepper("p2"), pepper("p1"))))
    await world.verify(issued.key, rotated)
    await world.settle()
    assert (await stored(world, issued.record.key_id)).digest_pepper == "p2"
    only_new = await world.start(Peppers((pepper("p2"), pepper("p1", retired=True))))
    assert (await world.verify(issued.key, only_new)).record.gen == issued.record.gen


async def test_rewriting_changes_nothing_else(world: World) -> None:
    """The rewrite touches the digest alone: status, generation and policy stay."""
    issued = await world.issue()
    rotated = await world.start(Peppers((pepper("p2"), pepper("p1"))))
    await world.verify(issued.key, rotated)
    await world.settle()
    rewritten = await stored(world, issued.record.key_id)
    assert rewritten == replace(issued.record, digest=rewritten.digest, digest_pepper="p2")
    assert rewritten.digest != issued.record.digest


async def test_rewrite_does_not_undo_a_revoke(world: World) -> None:
    """A key that is revoked while its rewrite waits stays revoked."""
    issued = await world.issue()
    rotated = await world.start(Peppers((pepper("p2"), pepper("p1"))))
    world.directory.may_write.clear()
    await world.verify(issued.key, rotated)
    dead = issued.record.revoked(world.time.now(), RevocationReason.UNSPECIFIED, 0)
    await world.write(issued.owner.id, dead)
    world.directory.may_write.set()
    await world.settle()
    assert world.directory.writes == [issued.owner.id]
    assert await stored(world, issued.record.key_id) == dead


async def test_rewrite_does_not_touch_a_newer_generation(world: World) -> None:
    """A record that was changed while its rewrite waits, perhaps to another secret, keeps what it holds."""
    issued = await world.issue()
    rotated = await world.start(Peppers((pepper("p2"), pepper("p1"))))
    world.directory.may_write.clear()
    await world.verify(issued.key, rotated)
    newer = replace(issued.record, gen=2, digest="another secret's")
    await world.write(issued.owner.id, newer)
    world.directory.may_write.set()
    await world.settle()
    assert world.directory.writes == [issued.owner.id]
    assert await stored(world, issued.record.key_id) == newer


async def test_keys_survive_the_loss_of_all_peppers(world: World) -> None:
    """With advisory stamps and new peppers bcrypt proves old keys, and gives them new digests: none is re-issued."""
    issued = await world.issue()
    after = await world.start(Peppers((pepper("p9"),)), stamps=Stamps.ADVISORY)
    assert (await world.verify(issued.key, after)).record.key_id == issued.record.key_id
    await world.settle()
    assert (await stored(world, issued.record.key_id)).digest_pepper == "p9"


async def test_lost_peppers_refuse_old_keys_while_stamps_are_enforced(world: World) -> None:
    """Unless told to be lenient, a stamp nobody recognises is a forgery."""
    issued = await world.issue()
    after = await world.start(Peppers((pepper("p9"),)))
    with pytest.raises(KeyRefusedError) as refused:
        await world.verify(issued.key, after)
    assert refused.value.reason is Reason.FORGED


async def test_wrong_secret_is_refused_by_bcrypt_when_peppers_are_lost(world: World) -> None:
    """Advisory stamps let a guess be looked up, and bcrypt refuses it."""
    issued = await world.issue()
    after = await world.start(Peppers((pepper("p9"),)), stamps=Stamps.ADVISORY)
    with pytest.raises(KeyRefusedError) as refused:
        await world.verify(with_other_secret(issued.key), after)
    assert refused.value.reason is Reason.WRONG_SECRET
    assert (await stored(world, issued.record.key_id)).digest_pepper == "p1"


async def test_new_keys_work_beside_old_ones_after_a_loss(world: World) -> None:
    """A key issued after the loss is proved by its digest under the new pepper."""
    after = await world.start(Peppers((pepper("p9"),)), stamps=Stamps.ADVISORY)
    issued = await world.issue(after)
    assert issued.record.stamp_pepper == issued.record.digest_pepper == "p9"
    assert await world.verify(issued.key, after)


async def test_verdict_kept_under_a_retired_pepper_is_not_found(world: World) -> None:
    """Cache names follow the current pepper: after a change nothing kept under the old one is opened."""
    issued = await world.issue()
    await world.verify(issued.key)
    await world.settle()
    rotated = await world.start(Peppers((pepper("p2"), pepper("p1", retired=True))))
    finds = len(world.directory.finds)
    await world.verify(issued.key, rotated)
    assert len(world.directory.finds) == finds + 1
