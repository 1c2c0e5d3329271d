from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from keystile.errors import CannotTellError, KeyRefusedError, Reason, TooManyFailuresError
from keystile.keys import Stamps
from unit.builders import FORMAT, with_other_secret

if TYPE_CHECKING:
    from keystile.keys import ApiKey
    from unit.world import World

OLDER = "mcpkey_live_" + "x" * 43


async def fail(world: World, presented: ApiKey | str, **changes: Any) -> Reason:  # noqa: ANN401 - fields of the context
    with pytest.raises(KeyRefusedError) as refused:
        await world.verify(presented, **changes)
    return refused.value.reason


async def spend(world: World, address: str = "192.0.2.1") -> None:
    """Spend the three failures of an address with stamped keys nobody holds."""
    for _ in range(world.failures):
        assert await fail(world, FORMAT.generate("live"), address=address) is Reason.UNKNOWN


async def is_spent(world: World, address: str = "192.0.2.1") -> bool:
    return bool(await world.here.verifier.limiter.wait(address))


async def test_key_without_a_stamp_is_told_to_wait(world: World) -> None:
    """When an address has spent its failures, a key that anybody could have made up is not looked up."""
    await spend(world)
    finds = len(world.directory.finds)
    with pytest.raises(TooManyFailuresError) as told:
        await world.verify(OLDER)
    assert 0 < told.value.retry_after <= 60
    assert len(world.directory.finds) == finds


async def test_stamped_key_still_gets_its_query(world: World) -> None:
    """A key that can only be ours is looked up all the same, in its own line."""
    issued = await world.issue()
    await spend(world)
    assert (await world.verify(issued.key)).record == issued.record.pared()
    assert await fail(world, FORMAT.generate("live")) is Reason.UNKNOWN


async def test_line_of_a_spent_address_is_bounded(world: World) -> None:
    """The line for stamped keys takes ten callers of an address; the next is told to come again."""
    await spend(world)
    lane = world.here.verifier.slow_lane
    issued = await world.issue()
    for _ in range(10):
        lane._callers["192.0.2.1"] += 1  # noqa: SLF001 - ten callers who wait
    with pytest.raises(CannotTellError):
        await world.verify(issued.key)
    assert await world.verify(issued.key, address="192.0.2.9")


async def test_known_key_is_never_refused_for_its_neighbours(world: World) -> None:
    """A whole gateway may share one address: a live verdict, here or in the shared cache, is answered."""
    issued, elsewhere = await world.issue(), await world.issue(name="other")
    await world.verify(issued.key)
    other = await world.start()
    await world.verify(elsewhere.key, other)
    await world.settle()
    await spend(world)
    world.directory.down = True  # nothing is looked up
    assert await world.verify(issued.key)
    assert await world.verify(elsewhere.key)


async def test_same_key_counts_once_a_minute(world: World) -> None:
    """One client with a wrong key does not spend the failures of its whole network."""
    stranger = FORMAT.generate("live")
    for _ in range(10):
        await fail(world, stranger)
        world.here.verifier.negatives._entries.clear()  # noqa: SLF001 - as if each time were the first
    assert len(world.directory.finds) == 10
    assert not await is_spent(world)


async def test_remembered_refusal_costs_nothing(world: World) -> None:
    """A key known to be unknown is refused without counting, from any address."""
    stranger = FORMAT.generate("live")
    await fail(world, stranger)
    for number in range(5):
        await fail(world, stranger, address=f"198.51.100.{number}")
    assert len(world.directory.finds) == 1
    assert not await is_spent(world, "198.51.100.0")


async def test_malformed_and_forged_keys_cost_nothing(world: World) -> None:
    """What is refused without a look-up is not counted: nobody can lock an address out with rubbish."""
    for presented in ["", "x" * 100, FORMAT.generate("live").reveal()[:-1] + "_"] * 10:
        assert await fail(world, presented) is Reason.MALFORMED
    assert not await is_spent(world)


async def test_proved_key_that_is_refused_costs_nothing(world: World) -> None:
    """A holder of a key may ask for too much as often as it likes."""
    issued = await world.issue()
    for number in range(10):
        assert await fail(world, issued.key, scopes=(f"scope{number}",)) is Reason.SCOPE_DENIED
    assert not await is_spent(world)


async def test_wrong_secret_is_counted(world: World) -> None:
    """A guess at a known key counts like an unknown one."""
    issued = await world.issue()
    for _ in range(world.failures):
        assert await fail(world, with_other_secret(issued.key)) is Reason.WRONG_SECRET
    assert await is_spent(world)


async def test_failures_are_forgiven_after_a_minute(world: World) -> None:
    """The allowance comes back."""
    await spend(world)
    assert await is_spent(world)
    await world.pass_time(60.0)
    assert not await is_spent(world)


async def test_each_address_has_its_own_allowance(world: World) -> None:
    """One address cannot spend another's, and an IPv6 network counts as one."""
    await spend(world, "2001:db8::1")
    assert await is_spent(world, "2001:db8::ffff")
    assert not await is_spent(world, "2001:db8:0:1::1")
    assert not await is_spent(world, "192.0.2.1")


async def test_outage_is_not_a_failure(world: World) -> None:
    """A directory that does not answer spends nobody's allowance."""
    world.directory.down = True
    for _ in range(10):
        with pytest.raises(CannotTellError):
            await world.verify(FORMAT.generate("live"))
    assert not await is_spent(world)


async def test_unknown_stamp_counts_as_none_when_stamps_are_advisory(world: World) -> None:
    """With lost peppers a well-shaped key may be anybody's: it waits when the failures are spent."""
    lost = FORMAT.generate("live").reveal()
    forged = lost[:-6] + ("000000" if lost[-6:] != "000000" else "111111")
    advisory = await world.start(stamps=Stamps.ADVISORY)
    for _ in range(world.failures):
        await advisory.verifier.limiter.fail("192.0.2.1", FORMAT.generate("live").tag)
    with pytest.raises(TooManyFailuresError):
        await world.verify(forged, advisory)
