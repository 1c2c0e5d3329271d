"""What every store of notes on signing keys promises."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from contracts.examples import OTHER_PEPPERS, PEPPERS
from keystile.adapters.memory.signing_notes import InProcessSigningNotes
from keystile.adapters.redis.signing_notes import NAME, RedisSigningNotes
from keystile.adapters.sqlite.signing_notes import SqliteSigningNotes
from keystile.errors import CannotTellError
from keystile.peppers import Peppers
from keystile.signing_keys import NOTES_MOST, SigningNote

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from keystile.adapters.redis.link import RedisLink
    from keystile.ports import SigningNotes
    from stack import RedisServer


@pytest.fixture(params=["in_process", "sqlite", "redis"])
def notes(request: pytest.FixtureRequest) -> SigningNotes:
    if request.param == "in_process":
        return InProcessSigningNotes()
    if request.param == "sqlite":
        return SqliteSigningNotes(request.getfixturevalue("database"), PEPPERS)
    return RedisSigningNotes(request.getfixturevalue("link"), PEPPERS)


def a_note(process: str = "p1", signs: str = "k1", signs_for: float = 7.5, **loaded: float) -> SigningNote:
    return SigningNote(process=process, signs=signs, signs_for=signs_for, loaded=loaded or {"k1": 9.25})


async def test_nothing_is_noted_at_first(notes: SigningNotes) -> None:
    """A new store tells nothing, and says of the first note that there was none before."""
    assert (await notes.read()).noted == ()
    assert not (await notes.note(a_note())).known


async def test_notes_come_back_whole(notes: SigningNotes) -> None:
    """What one process notes, every other reads, with an age of nearly nothing."""
    await notes.note(a_note())
    told = await notes.note(a_note("p2", signs="k2", k1=1.0, k2=2.0))
    by_process = {each.note.process: each for each in told.noted}
    assert by_process["p1"].note == a_note()
    assert by_process["p2"].note.loaded == {"k1": 1.0, "k2": 2.0}
    assert all(0 <= each.age < 60 for each in told.noted)
    assert (await notes.read()).dropped == 0


async def test_a_later_note_replaces_the_earlier_one(notes: SigningNotes) -> None:
    """A process has one note, and learns that it was still there."""
    await notes.note(a_note())
    told = await notes.note(a_note(signs="k2"))
    assert told.known
    assert [each.note.signs for each in told.noted] == ["k2"]


async def test_notes_are_bounded(notes: SigningNotes) -> None:
    """However many processes come and go, so many notes are kept, the latest among them."""
    for number in range(NOTES_MOST + 20):
        told = await notes.note(a_note(f"p{number}"))
    assert len(told.noted) <= NOTES_MOST
    assert f"p{NOTES_MOST + 19}" in {each.note.process for each in told.noted}


async def test_a_store_out_of_reach_cannot_tell(own_redis: RedisServer, quick_link: RedisLink) -> None:
    """Away is neither empty nor an error of another kind."""
    await asyncio.to_thread(own_redis.kill)
    notes = RedisSigningNotes(quick_link, PEPPERS)
    with pytest.raises(CannotTellError):
        await notes.note(a_note())
    with pytest.raises(CannotTellError):
        await notes.read()


async def test_notes_under_a_former_pepper_count(link: RedisLink) -> None:
    """Processes that change peppers one after the other still hear each other."""
    former = RedisSigningNotes(link, Peppers((PEPPERS.all[1],)))
    await former.note(a_note())
    assert [each.note for each in (await RedisSigningNotes(link, PEPPERS).read()).noted] == [a_note()]


async def test_what_others_put_there_is_dropped(link: RedisLink, raw: Redis) -> None:
    """Forged notes are counted and told to nobody; garbage and another type make room (Redis is not trusted)."""
    notes = RedisSigningNotes(link, PEPPERS)
    await RedisSigningNotes(link, OTHER_PEPPERS).note(a_note("forger", signs="theirs"))
    await notes.note(a_note())
    await raw.hset(NAME, mapping={"x": "garbage", "y": "99999999999999:{}", "z": b"\xff:\xff"})
    told = await notes.read()
    assert ([each.note.process for each in told.noted], told.dropped) == (["p1"], 1)
    assert set(await raw.hkeys(NAME)) == {b"p1", b"forger"}
    await raw.set(NAME, "a string")
    assert (await notes.note(a_note())).noted[0].note == a_note()
    await raw.flushall()
    assert not (await notes.note(a_note())).known
