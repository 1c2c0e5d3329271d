from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.errors import KeyRefusedError, Reason
from keystile.keys import KeyFormat
from keystile.peppers import Peppers
from unit.builders import FORMAT, asked, pepper

if TYPE_CHECKING:
    from unit.world import World

TEXT = FORMAT.generate("live").reveal()
FORGED = KeyFormat(Peppers((pepper("theirs"),))).generate("live").reveal()

HOSTILE = {
    "empty": "",
    "one character": "m",
    "brand alone": "mcpkey_live_",
    "73 bytes": TEXT + "a" * 10,
    "72 bytes": TEXT + "a" * 9,
    "1 MB": "mcpkey_live_" + "a" * 1_000_000,
    "NUL at the end": TEXT + "\0",
    "NUL inside": TEXT[:20] + "\0" + TEXT[21:],
    "NUL after the brand": "mcpkey_live_\0" + TEXT[13:],
    "non-ASCII": TEXT[:30] + "é" + TEXT[31:],
    "72 characters of 4 bytes": "\U0001f511" * 72,
    "full-width letter": TEXT.replace("m", "\uff4d", 1),
    "Cyrillic letter": TEXT.replace("e", "\u0435", 1),
    "full-width digit in the id": TEXT[:12] + "\uff11" + TEXT[13:],
    "Arabic digit in the secret": TEXT[:40] + "\u0661" + TEXT[41:],
    "long s": TEXT[:40] + "\u017f" + TEXT[41:],
    "Kelvin sign": TEXT.replace("k", "\u212a", 1),
    "trailing newline": TEXT + "\n",
    "trailing blank": TEXT + " ",
    "leading blank": " " + TEXT,
    "in quotes": f'"{TEXT}"',
    "with its scheme": f"Bearer {TEXT}",
    "twice": f"{TEXT},{TEXT}"[:72],
    "lone surrogate": TEXT[:30] + "\ud800" + TEXT[31:],
    "zero-width space": TEXT[:30] + "\u200b" + TEXT[30:],
    "another environment": TEXT.replace("_live_", "_prod_"),
    "another brand": TEXT.replace("mcpkey", "mcpkez"),
    "forged": FORGED,
}


def explode(*_arguments: object, **_named: object) -> NoReturn:
    pytest.fail("something was called that costs I/O or a bcrypt")


@pytest.fixture
def sealed(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Make every port, every queue and bcrypt itself fail the test when it is called."""
    verifier = world.here.verifier
    for port, methods in (
        (world.directory, ("find", "owner", "owner_named", "adopt", "update", "owners")),
        (world.far, ("get", "put", "floor")),
        (world.log, ("append", "read")),
        (world.workers, ("run",)),
        (verifier.limiter, ("wait", "fail")),
        (verifier.chores, ("add",)),
        (verifier.flights, ("once",)),
        (bcrypt, ("checkpw", "hashpw")),
    ):
        for method in methods:
            monkeypatch.setattr(port, method, explode)
    return world


@pytest.mark.parametrize("presented", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_input_is_refused_without_io_or_bcrypt(sealed: World, presented: str) -> None:
    """Input that is no key of ours is malformed or forged, and nobody is asked about it."""
    with pytest.raises(KeyRefusedError) as refused:
        await sealed.here.verifier.verify(presented, asked())
    assert refused.value.reason is (Reason.FORGED if presented == FORGED else Reason.MALFORMED)
    assert refused.value.key_id is None


async def test_forged_key_is_refused_although_its_id_is_known(sealed: World) -> None:
    """A stamp is over everything before it: a known key id with a guessed secret costs nobody anything."""
    guessed = TEXT[:25] + "A" * 32 + TEXT[57:]
    with pytest.raises(KeyRefusedError) as refused:
        await sealed.here.verifier.verify(guessed, asked())
    assert refused.value.reason is Reason.FORGED


@given(presented=st.text(st.characters(), max_size=90) | st.text("mcpkey_live0aA-", max_size=73))
def test_any_text_is_malformed_or_forged(presented: str) -> None:
    """Whatever the text, lone surrogates included, parsing it ends in a refusal and in no other error."""
    for key_format in (FORMAT, KeyFormat(Peppers((pepper(),)), older=True)):
        with pytest.raises(KeyRefusedError) as refused:
            key_format.parse(presented)
        assert refused.value.reason in (Reason.MALFORMED, Reason.FORGED)


async def test_flood_of_forged_keys_is_audited_in_one_line(sealed: World) -> None:
    """Two hundred forged keys from one address are one audit line with a count."""
    for _ in range(200):
        with pytest.raises(KeyRefusedError):
            await sealed.here.verifier.verify(FORGED, asked())
    sealed.here.verifier.auditor.flush()
    assert [(event.reason, event.count) for event in sealed.audit.events] == [("forged", 200)]
