from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from keystile.adapters.signing.files import Algorithm, date_line, load, new_pem, read_not_before
from keystile.adapters.signing.folder import SigningKeyFolder
from keystile.errors import ChangeRefusedError, ConfigurationError
from unit.builders import DEFAULT_AUDIENCE, ISSUER, NOW
from unit.test_signing import write_pem

if TYPE_CHECKING:
    from pathlib import Path

LATER = NOW + timedelta(minutes=5)
NO_KEY = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"


def opened(folder: Path, algorithm: Algorithm = "ES256") -> SigningKeyFolder:
    return SigningKeyFolder.open(folder, algorithm, ISSUER, new_from=LATER)


async def signing_kid(keys: SigningKeyFolder) -> str:
    token = await keys.issuer.mint({"iss": ISSUER, "aud": DEFAULT_AUDIENCE, "exp": 4_000_000_000})
    return str(jwt.get_unverified_header(token)["kid"])


def shown(keys: SigningKeyFolder) -> list[str]:
    return [key["kid"] for key in keys.issuer.jwks()["keys"]]


async def test_a_folder_of_one_file_goes_on_working(tmp_path: Path) -> None:
    """What an earlier version made, one file without a date, signs as it did, and nothing is added to it."""
    kid = load(made(tmp_path, "es256.pem")).kid
    keys = opened(tmp_path)
    assert (await signing_kid(keys), shown(keys)) == (kid, [kid])
    assert names(tmp_path) == ["es256.pem"]


async def test_a_new_folder_gets_a_key_that_signs_at_once(tmp_path: Path) -> None:
    """Where there are no verifiers yet, nobody has to wait; the file is for its owner alone."""
    keys = opened(tmp_path / "new")
    (key,) = (await keys.read()).keys
    assert (key.name, key.not_before, await signing_kid(keys)) == ("es256.pem", None, key.kid)
    assert stat.S_IMODE((tmp_path / "new/es256.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


async def test_another_algorithm_begins_as_a_next_key(tmp_path: Path) -> None:
    """A change of KEYSTILE_SIGNING_ALG is a rotation: the key of the former algorithm signs on, both are shown."""
    former = load(made(tmp_path, "rs256.pem", "RS256")).kid
    keys = opened(tmp_path, "EdDSA")
    by_name = {key.name: key for key in (await keys.read()).keys}
    assert by_name["eddsa.pem"].not_before == LATER.timestamp()
    assert await signing_kid(keys) == former
    assert set(shown(keys)) == {former, by_name["eddsa.pem"].kid}


async def test_a_made_key_is_whole_exclusive_and_for_its_owner_alone(tmp_path: Path) -> None:
    """`make` writes one file, 0600, its date within, and never over another: of two that race the second is told."""
    keys, rival = opened(tmp_path), opened(tmp_path)
    key = await keys.make(LATER)
    path = tmp_path / key.name
    assert key.name == "es256-2.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load(path).not_before == LATER
    before = path.read_bytes()
    with pytest.raises(ChangeRefusedError, match=r"es256-2\.pem"):
        await rival.make(LATER)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["es256-2.pem", "es256.pem"]


async def test_every_process_finds_a_new_file_by_itself(tmp_path: Path) -> None:
    """A key that one process makes, another reads the next time it looks, and shows it when told to."""
    here, there = opened(tmp_path), opened(tmp_path)
    key = await there.make(LATER)
    assert key in (await here.read()).keys
    first = await signing_kid(here)
    here.use(first)
    assert set(shown(here)) == {first, key.kid}
    assert await signing_kid(here) == first


@pytest.mark.parametrize("content", [b"", NO_KEY, NO_KEY[:40], bytes(range(256)), b"Not-Before-Use: soon\n"])
async def test_a_half_written_file_is_named_and_passed_over(tmp_path: Path, content: bytes) -> None:
    """What is no key, or not yet, is one fault that names it and shows none of it; the others stay in use."""
    keys = opened(tmp_path)
    (tmp_path / "es256-2.pem").write_bytes(content)
    read = await keys.read()
    assert len(read.keys) == 1
    (fault,) = read.faults
    assert "es256-2.pem" in fault
    assert "AAAA" not in fault
    (tmp_path / "es256-2.pem").write_bytes(new_pem("ES256", LATER))
    assert (len((await keys.read()).keys), (await keys.read()).faults) == (2, ())


@pytest.mark.parametrize("content", [b"", NO_KEY, NO_KEY[:40], bytes(range(256))])
def test_a_broken_only_key_stops_the_start(tmp_path: Path, content: bytes) -> None:
    """No key is made beside a file that may be the key: that would be a new issuer nobody asked for."""
    (tmp_path / "rs256.pem").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"rs256\.pem"):
        opened(tmp_path, "RS256")
    assert names(tmp_path) == ["rs256.pem"]


async def test_too_weak_or_misnamed_keys_are_named(tmp_path: Path) -> None:
    """RSA below 2048 bits (RFC 7518, 3.3), and a key under the name of another algorithm, sign and show nothing."""
    keys = opened(tmp_path)
    write_pem(tmp_path / "rs256-2.pem", rsa.generate_private_key(public_exponent=65537, key_size=1024))  # noqa: S505 - to see it refused
    made(tmp_path, "rs256-3.pem", "EdDSA")
    read = await keys.read()
    assert len(read.keys) == 1
    assert [name in fault for name, fault in zip(("rs256-2.pem", "rs256-3.pem"), read.faults, strict=True)] == [
        True
    ] * 2


async def test_a_file_without_a_date_is_shown_and_never_signs(tmp_path: Path) -> None:
    """Whoever drops in a key without saying when it may sign has not told the verifiers either."""
    kid = load(made(tmp_path, "es256.pem")).kid
    made(tmp_path, "mine.pem")
    (mine,) = [key for key in (await opened(tmp_path).read()).keys if key.name == "mine.pem"]
    assert not mine.may_sign
    assert await signing_kid(opened(tmp_path)) == kid
    assert mine.kid in shown(opened(tmp_path))


async def test_an_operator_may_place_a_dated_file_of_any_name(tmp_path: Path) -> None:
    """A date in the text before the key (RFC 7468, 5.2) is all it takes."""
    made(tmp_path, "es256.pem")
    (tmp_path / "spring.pem").write_bytes(f"{date_line(LATER)}\n".encode() + new_pem("ES256"))
    (spring,) = [key for key in (await opened(tmp_path).read()).keys if key.name == "spring.pem"]
    assert (spring.may_sign, spring.not_before) == (True, LATER.timestamp())


async def test_a_folder_that_is_gone_takes_no_key_away(tmp_path: Path) -> None:
    """A mount that blinks, or is emptied, leaves the last keys in use, and says so."""
    folder = tmp_path / "keys"
    keys = opened(folder)
    before = await keys.read()
    (folder / "es256.pem").rename(tmp_path / "aside.pem")
    emptied = await keys.read()
    folder.rmdir()
    gone = await keys.read()
    assert emptied.keys == gone.keys == before.keys
    assert len(emptied.faults) == len(gone.faults) == 1


async def test_a_read_only_folder_says_what_to_add_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a mounted secret the operator is told the file's name, its first line, and what makes the rest."""
    keys = opened(tmp_path)

    def refuse(*_: object) -> bool:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("keystile.adapters.signing.folder.write_once", refuse)
    with pytest.raises(ConfigurationError) as refused:
        await keys.make(LATER)
    said = str(refused.value)
    assert all(part in said for part in ("es256-2.pem", date_line(LATER), "openssl genpkey", str(tmp_path)))


async def test_only_files_of_ours_are_removed(tmp_path: Path) -> None:
    """A file an operator named is his to take away."""
    keys = opened(tmp_path)
    made(tmp_path, "mine.pem")
    by_name = {key.name: key for key in (await keys.read()).keys}
    assert not await keys.remove(by_name["mine.pem"])
    assert await keys.remove(by_name["es256.pem"])
    assert names(tmp_path) == ["mine.pem"]


async def test_links_of_a_mounted_secret_are_followed(tmp_path: Path) -> None:
    """Kubernetes swaps one link to a folder of the new version: what it then names is what is read."""
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
    made(tmp_path / "v1", "es256.pem")
    (tmp_path / "v2/es256.pem").write_bytes((tmp_path / "v1/es256.pem").read_bytes())
    (tmp_path / "v2/es256-2.pem").write_bytes(new_pem("ES256", LATER))
    mount = tmp_path / "mount"
    mount.symlink_to(tmp_path / "v1")
    keys = opened(mount)
    (tmp_path / "swap").symlink_to(tmp_path / "v2")
    (tmp_path / "swap").rename(mount)
    assert [key.name for key in sorted((await keys.read()).keys, key=lambda key: key.name)] == [
        "es256-2.pem",
        "es256.pem",
    ]


@given(moment=st.datetimes(datetime(1970, 1, 2), datetime(9999, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis wants naive bounds
def test_a_date_is_read_as_it_was_written(moment: datetime) -> None:
    """Any moment comes back, in whole seconds, from the text before a key."""
    assert read_not_before(f"{date_line(moment)}\n".encode() + NO_KEY) == moment.replace(microsecond=0)


@given(text=st.binary(max_size=60))
def test_any_date_is_read_or_refused(text: bytes) -> None:
    """A date nobody can read never passes for none: that key might sign at once."""
    try:
        read = read_not_before(b"Not-Before-Use: " + text.replace(b"-----BEGIN", b"") + b"\n" + NO_KEY)
    except ValueError:
        return
    assert read is not None
    assert read.tzinfo is UTC


@pytest.mark.parametrize("line", ["2026-03-01", "2026-03-01T12:00:00", "", "yesterday"])
def test_a_date_without_zone_or_sense_is_refused(line: str) -> None:
    """Neither a naive moment nor a word is a date."""
    with pytest.raises(ValueError, match=r"Not-Before-Use|isoformat"):
        read_not_before(f"Not-Before-Use: {line}\n".encode() + NO_KEY)


def made(folder: Path, name: str, algorithm: Algorithm = "ES256") -> Path:
    """Put a key without a date into *folder*."""
    path = folder / name
    path.write_bytes(new_pem(algorithm))
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
