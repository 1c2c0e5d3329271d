from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keystile.adapters.secret_files import read_or_make, replace, write_once
from unit.served import bearer, serving

if TYPE_CHECKING:
    from pathlib import Path

    from unit.served import Prepared


async def test_keys_survive_the_loss_of_the_peppers_file(prepared: Prepared, tmp_path: Path) -> None:
    """The embedded store makes new peppers; told to be lenient, it proves every old key by bcrypt, and no other."""
    (prepared.folder / "peppers").rename(prepared.folder / "kept")
    try:
        async with serving(prepared, tmp_path, stamps="advisory") as client:
            assert (await client.verify(bearer(client.keys["good"]))).status == 200
            for state in ("wrong_secret", "unknown", "revoked", "suspended"):
                assert (await client.verify(bearer(client.keys[state]))).status == 401
            assert (await client.verify(bearer(client.keys["other"]))).status == 200
    finally:
        (prepared.folder / "kept").rename(prepared.folder / "peppers")


def test_secret_is_made_once(tmp_path: Path) -> None:
    """Whoever comes first makes it; everybody else reads the same."""
    path = tmp_path / "new" / "secret"
    assert read_or_make(path, lambda: b"first") == b"first"
    assert read_or_make(path, lambda: pytest.fail("made twice")) == b"first"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_first_of_several_makers_wins(tmp_path: Path) -> None:
    """A process that lost the race uses what the winner wrote, and leaves nothing behind."""
    path = tmp_path / "secret"

    def make() -> bytes:
        write_once(path, b"faster")  # somebody else, meanwhile
        return b"slower"

    assert read_or_make(path, make) == b"faster"
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]


def test_replacing_is_whole_and_private(tmp_path: Path) -> None:
    """A file that is replaced is never half written, and stays for its owner alone."""
    path = tmp_path / "demo.json"
    replace(path, b"one")
    replace(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["demo.json"]
