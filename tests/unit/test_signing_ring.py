from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keystile.adapters.signing.files import load_or_make, new_pem
from keystile.errors import CannotTellError, ChangeRefusedError
from keystile.signing_keys import LEEWAY, LIVE, KeyState
from unit.builders import asked
from unit.ringed import MAX_AGE, TTL, Ringed

if TYPE_CHECKING:
    from pathlib import Path

    from unit.ringed import Signer
    from unit.world import World


@pytest.fixture
def ringed(tmp_path: Path) -> Ringed:
    return Ringed(tmp_path / "keys")


async def kids(*signers: Signer) -> set[str]:
    return {await signer.kid() for signer in signers}


async def test_a_new_key_is_shown_at_once_and_signs_when_all_have_shown_it(ringed: Ringed) -> None:
    """Published before first use: in every process the next time it looks, and used after the cache time, by all."""
    here, there = await ringed.start(), await ringed.start()
    first = await here.kid()
    made = (await (await ringed.rotation()).rotate()).made
    await ringed.pass_time(1)
    assert here.shown() == there.shown() == {first, made.kid}
    await ringed.pass_time(MAX_AGE - 1)
    assert await kids(here, there) == {first}
    await ringed.pass_time(5)
    assert await kids(here, there) == {made.kid}
    assert here.shown() == {first, made.kid}
    assert here.changes == [first, made.kid]
    assert "signing_key_used" in ringed.events()


async def test_a_process_that_has_not_loaded_it_keeps_all_from_using_it(ringed: Ringed, tmp_path: Path) -> None:
    """A host whose mounted secret is late holds the rotation up, and is named by what it has not loaded."""
    here = await ringed.start()
    late = await ringed.start(folder=copied(ringed.folder, tmp_path / "late"))
    rotation = await ringed.rotation()
    made = (await rotation.rotate()).made
    await ringed.pass_time(10 * MAX_AGE)
    first = await here.kid()
    assert first != made.kid
    views = {view.key.kid: view for view in await rotation.overview()}
    assert (views[made.kid].state, views[made.kid].loaded_by) == (KeyState.NEXT, ("p0",))
    assert views[first].loaded_by == rotation.ring.processes() == ("p0", "p1")
    copied(ringed.folder, tmp_path / "late")
    await ringed.pass_time(MAX_AGE)
    assert await kids(here, late) == {first}
    await ringed.pass_time(10)
    assert await kids(here, late) == {made.kid}


async def test_a_process_that_died_holds_nothing_up_for_long(ringed: Ringed, tmp_path: Path) -> None:
    """Its word counts until nobody can keep what it showed: `LIVE` and the cache time."""
    here = await ringed.start()
    await ringed.start(folder=copied(ringed.folder, tmp_path / "late"))
    made = (await (await ringed.rotation()).rotate()).made
    ringed.signers.pop()
    await ringed.pass_time(MAX_AGE + LIVE - 5)
    assert await here.kid() != made.kid
    await ringed.pass_time(10)
    assert await here.kid() == made.kid


async def test_nobody_starts_using_a_key_while_the_store_is_away(ringed: Ringed) -> None:
    """Who cannot hear the others goes on as it was; when the store is back it waits until all could have spoken."""
    here = await ringed.start()
    made = (await (await ringed.rotation()).rotate()).made
    await ringed.pass_time(5)
    ringed.notes.away = True
    await ringed.pass_time(10 * MAX_AGE)
    assert await here.kid() != made.kid
    assert made.kid in here.shown()
    ringed.notes.away = False
    await ringed.pass_time(5)
    assert await here.kid() != made.kid
    await ringed.pass_time(LIVE + 5)
    assert await here.kid() == made.kid


async def test_a_store_that_lost_its_notes_vouches_for_nobody(ringed: Ringed, tmp_path: Path) -> None:
    """After a flush a process waits until those it has not heard of had the time to speak."""
    here = await ringed.start()
    late = await ringed.start(folder=copied(ringed.folder, tmp_path / "late"))
    made = (await (await ringed.rotation()).rotate()).made
    await ringed.pass_time(2 * MAX_AGE)
    ringed.notes.inner.lose()
    await here.ring.tell()
    assert await here.kid() != made.kid
    await ringed.pass_time(10 * LIVE)
    assert await kids(here, late) != {made.kid}


async def test_a_key_in_use_stays_in_use(ringed: Ringed, tmp_path: Path) -> None:
    """A process that comes later with an older folder does not take it back; it is told on."""
    here = await ringed.start()
    aside = copied(ringed.folder, tmp_path / "old")
    made = (await (await ringed.rotation()).rotate()).made
    await ringed.pass_time(MAX_AGE + 2 * LIVE)
    late = await ringed.start(folder=aside)
    await ringed.pass_time(30)
    assert await here.kid() == made.kid
    assert await late.kid() != made.kid
    assert any("which is not here" in event for event in ringed.events())


async def test_a_restarted_process_signs_as_the_others_do(ringed: Ringed) -> None:
    """What others sign with, or signed with before all were stopped, is in use: nobody goes back to the former key."""
    here = await ringed.start()
    made = (await (await ringed.rotation()).rotate()).made
    await ringed.pass_time(MAX_AGE + 2 * LIVE)
    assert await here.kid() == made.kid
    assert await (await ringed.start()).kid() == made.kid
    ringed.signers.clear()
    ringed.time.passed += 100 * 86_400
    assert await (await ringed.start()).kid() == made.kid


async def test_started_without_the_store_the_oldest_key_signs(ringed: Ringed) -> None:
    """It is the one that every verifier knows, if any; when the store is back, the one the others use."""
    here = await ringed.start()
    first = await here.kid()
    made = (await (await ringed.rotation()).rotate()).made
    await ringed.pass_time(MAX_AGE + 2 * LIVE)
    ringed.notes.away = True
    there = await ringed.start()
    assert await there.kid() == first
    ringed.notes.away = False
    await ringed.pass_time(5)
    assert await there.kid() == made.kid


async def test_another_algorithm_is_a_rotation_too(ringed: Ringed) -> None:
    """KEYSTILE_SIGNING_ALG changed, process by process: the former key signs until all show the new one."""
    here = await ringed.start("ES256")
    first = await here.kid()
    there = await ringed.start("EdDSA")
    assert await kids(here, there) == {first}
    await ringed.pass_time(1)
    assert here.shown() == there.shown()
    assert len(here.shown()) == 2
    await ringed.pass_time(MAX_AGE + LIVE)
    assert await there.kid() != first
    assert await here.kid() == first


async def test_only_one_key_waits_at_a_time(ringed: Ringed) -> None:
    """`rotate` is refused while a next key waits, by name."""
    await ringed.start()
    made = (await (await ringed.rotation()).rotate()).made
    with pytest.raises(ChangeRefusedError, match=made.name):
        await (await ringed.rotation()).rotate()
    await ringed.pass_time(MAX_AGE + 2 * LIVE)
    assert (await (await ringed.rotation()).rotate()).made.name == "eddsa-3.pem"


async def test_without_the_store_nobody_can_tell_whether_a_key_waits(ringed: Ringed) -> None:
    """`rotate` and `purge` are put off: they would have to guess."""
    await ringed.start()
    rotation = await ringed.rotation()
    ringed.notes.away = True
    with pytest.raises(CannotTellError):
        await rotation.rotate()
    with pytest.raises(CannotTellError):
        await rotation.purge()


async def test_the_previous_key_is_shown_until_its_last_jwt_is_dead(ringed: Ringed) -> None:
    """Its file goes at the next `purge` or `rotate` after a JWT's life and the leeway, and no sooner."""
    here = await ringed.start()
    first = await here.kid()
    await (await ringed.rotation()).rotate()
    await ringed.pass_time(MAX_AGE + LIVE)
    rotation = await ringed.rotation()
    assert await here.kid() != first
    while await rotation.purge() == ():
        assert first in here.shown()
        await ringed.pass_time(5)
    used_at = next(event for event in ringed.audit.events if event.event == "signing_key_used")
    assert used_at.detail["before"] == first
    views = [view for view in await rotation.overview() if view.state is not KeyState.CURRENT]
    assert views == []
    assert ringed.time.passed >= MAX_AGE + TTL + LEEWAY
    await ringed.pass_time(1)
    assert first not in here.shown()
    assert "signing_key_removed" in ringed.events()


async def test_what_a_dead_process_signed_keeps_its_key(ringed: Ringed) -> None:
    """A process that went while it signed with the former key may have left JWTs behind."""
    here = await ringed.start()
    first = await here.kid()
    await (await ringed.rotation()).rotate()
    await ringed.pass_time(MAX_AGE - 5)
    await ringed.start()
    ringed.signers.pop()
    await ringed.pass_time(MAX_AGE)
    rotation = await ringed.rotation()
    assert await here.kid() != first
    assert await rotation.purge() == ()


async def test_more_than_ten_keys_are_never_shown(ringed: Ringed) -> None:
    """A folder somebody filled gives a key set that every verifier takes, and an alert (RFC 7517; at most 10)."""
    here = await ringed.start()
    for number in range(12):
        (ringed.folder / f"mine-{number}.pem").write_bytes(new_pem("EdDSA"))
    await ringed.pass_time(1)
    assert len(here.shown()) == 10
    assert await here.kid() in here.shown()
    assert any("10 are shown" in event for event in ringed.events())
    with pytest.raises(ChangeRefusedError, match="10"):
        await (await ringed.rotation()).rotate()


async def test_a_fault_in_the_folder_is_told_once(ringed: Ringed) -> None:
    """A file that is no key raises one alert, not one a second, and the process goes on."""
    here = await ringed.start()
    before = await here.kid()
    (ringed.folder / "eddsa-2.pem").write_bytes(b"-----BEGIN PRIV")
    await ringed.pass_time(60)
    assert len([event for event in ringed.events() if "eddsa-2.pem" in event]) == 1
    assert await here.kid() == before


async def test_a_key_taken_away_is_gone_at_once(ringed: Ringed) -> None:
    """An operator who deletes a leaked key's file ends its JWTs here within a second; the next one steps in."""
    here = await ringed.start()
    first = await here.kid()
    made = (await (await ringed.rotation()).rotate()).made
    await ringed.pass_time(1)
    (ringed.folder / "eddsa.pem").unlink()
    await ringed.pass_time(1)
    assert await here.kid() == made.kid
    assert first not in here.shown()


async def test_a_late_clock_does_not_bring_a_key_forward(ringed: Ringed) -> None:
    """The date in the file is one bound, the time every process has shown it another: both hold."""
    here = await ringed.start()
    (ringed.folder / "eddsa-2.pem").write_bytes(new_pem("EdDSA", ringed.time.now() - timedelta(days=1)))
    await ringed.pass_time(MAX_AGE - 5)
    assert here.changes == [await here.kid()]
    await ringed.pass_time(10)
    assert len(here.changes) == 2


def copied(folder: Path, to: Path) -> Path:
    """Bring the folder *to* up to date."""
    to.mkdir(exist_ok=True)
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


async def test_jwts_kept_for_reuse_are_made_anew_after_a_rotation(world: World, tmp_path: Path) -> None:
    """A JWT kept with a verdict names its maker: who signs with another key does not hand it out."""
    verdict = await world.verify((await world.issue()).key)
    exchange = world.exchange
    jwt = await exchange.mint_reusable(verdict, asked())
    kept = replace(verdict, jwt=jwt)
    assert exchange.reusable(kept, asked()) == jwt
    former, later = load_or_make(tmp_path, "EdDSA"), load_or_make(tmp_path / "later", "EdDSA")
    world.tokens.use([later, former])
    assert exchange.reusable(kept, asked()) is None


async def test_prepared_answers_are_forgotten_when_another_key_signs(world: World) -> None:
    """What the verify door prepared from a verdict goes, the verdict itself stays."""
    key = (await world.issue()).key
    verdict = await world.verify(key)
    known = world.here.near.known(key.name)
    assert known is not None
    known.answer, known.prepared_until, known.answer_until = (b"Bearer x",), 9e9, 9e9
    world.here.near.forget_answers()
    assert not known.answer
    assert (known.prepared_until, known.answer_until) == (0.0, 0.0)
    assert world.here.near.peek(key.name) is verdict
