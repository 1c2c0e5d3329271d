"""The folder of signing keys: what is in it now, what in it is no key, and the next one put there.

Trusted as a pepper is: whoever can write to it can sign. It may be a mounted secret that nobody here can write to.
"""

from __future__ import annotations

import asyncio
import errno
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keystile.adapters.secret_files import write_once
from keystile.adapters.signing.files import Algorithm, SigningKey, date_line, load, new_pem
from keystile.adapters.signing.issuer import LocalTokenIssuer
from keystile.errors import ChangeRefusedError, ConfigurationError
from keystile.ports import KeysRead
from keystile.signing_keys import PublishedKey, choose, published

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

_OURS = re.compile(r"(rs256|es256|eddsa)(?:-([1-9][0-9]{0,8}))?\.pem")
_MOST_FILES = 64
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_NEW_KEY = {
    "RS256": "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048",
    "ES256": "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
    "EdDSA": "openssl genpkey -algorithm ED25519",
}
_Stamp = tuple[int, int, int]  # what changes when a file does


@dataclass(frozen=True, slots=True)
class _File:
    """What a file held when its *stamp* was this; *fault* says why that is no key."""

    stamp: _Stamp | None
    key: SigningKey | None = None
    fault: str = ""


class SigningKeyFolder:
    """The `SigningKeys` in *folder*, and the issuer that uses them; *algorithm* is what new ones are for."""

    def __init__(self, folder: Path, algorithm: Algorithm) -> None:
        self._folder = folder
        self._algorithm = algorithm
        self._files: dict[str, _File] = {}
        self._keys: dict[str, SigningKey] = {}
        self._public: tuple[PublishedKey, ...] = ()
        self.issuer: LocalTokenIssuer

    @classmethod
    def open(cls, folder: Path, algorithm: Algorithm, issuer: str, *, new_from: datetime) -> SigningKeyFolder:
        """Read *folder*, making a key if it has none of *algorithm*; one beside others signs from *new_from* on.

        Raises a `ConfigurationError` where a file that may be that key cannot be read.
        """
        opened = cls(folder, algorithm)
        read = opened._look()
        if not any(key.may_sign and key.algorithm == algorithm for key in read.keys):
            if read.faults:
                raise ConfigurationError("; ".join(read.faults))
            opened._make(new_from if read.keys else None)
            read = opened._look()
        at_once = {key.kid for key in read.keys if key.not_before is None and key.may_sign}
        first = choose(read.keys, algorithm, at_once).kid
        opened.issuer = LocalTokenIssuer(issuer, opened._in_order(first))
        return opened

    async def read(self) -> KeysRead:
        """See `SigningKeys.read`: a folder that is gone, or holds nothing to sign with, changes nothing."""
        return await asyncio.to_thread(self._look)

    def use(self, kid: str) -> None:
        """See `SigningKeys.use`."""
        self.issuer.use(self._in_order(kid))

    async def make(self, not_before: datetime) -> PublishedKey:
        """See `SigningKeys.make`."""
        name = await asyncio.to_thread(self._make, not_before)
        read = await self.read()
        return next(key for key in read.keys if key.name == name)

    async def remove(self, key: PublishedKey) -> bool:
        """See `SigningKeys.remove`: only files that are named as ours are."""
        if not _OURS.fullmatch(key.name):
            return False
        try:
            await asyncio.to_thread((self._folder / key.name).unlink, missing_ok=True)
        except OSError:
            return False
        return True

    def _in_order(self, first: str) -> list[SigningKey]:
        return [self._keys[key.kid] for key in published(self._public, first)]

    def _look(self) -> KeysRead:
        try:
            names = self._names()
        except OSError as error:
            return KeysRead(self._public, (f"the signing keys in {self._folder} cannot be read: {error.strerror}",))
        self._files = {name: self._file(name) for name in names[:_MOST_FILES]}
        faults = [file.fault for file in self._files.values() if file.fault]
        if len(names) > _MOST_FILES:
            faults.append(f"{self._folder} holds more than {_MOST_FILES} files: the others are not read")
        found = {each.kid: (each, key) for each, key in reversed(list(self._found()))}
        if self._public and not any(each.may_sign for each, _ in found.values()):
            faults.append(f"no signing key is left in {self._folder}: the last ones stay in use")
            return KeysRead(self._public, tuple(faults))
        self._keys = {kid: key for kid, (_, key) in found.items()}
        self._public = tuple(each for each, _ in found.values())
        return KeysRead(self._public, tuple(faults))

    def _names(self) -> list[str]:
        if not self._public and not self._folder.exists():
            return []  # the first start makes it
        return sorted(path.name for path in self._folder.iterdir() if path.suffix == ".pem")

    def _file(self, name: str) -> _File:
        path = self._folder / name
        try:
            status = path.stat()
        except OSError as error:
            return _File(None, fault=f"the signing key {path} cannot be read: {error.strerror}")
        stamp = status.st_mtime_ns, status.st_size, status.st_ino
        known = self._files.get(name)
        if known is not None and known.stamp == stamp and known.key is not None:
            return known
        try:
            key = load(path)
        except ConfigurationError as error:
            return _File(stamp, fault=str(error))
        named = _OURS.fullmatch(name)
        if named and named[1] != key.algorithm.lower():
            return _File(stamp, fault=f"the signing key {path} is for {key.algorithm}, not for what its name says")
        return _File(stamp, key)

    def _found(self) -> Iterator[tuple[PublishedKey, SigningKey]]:
        for name, file in self._files.items():
            key = file.key
            if key is None:
                continue
            not_before = None if key.not_before is None else key.not_before.timestamp()
            # A file that somebody drops in without a date is shown, and signs nothing: nobody can know it yet.
            may_sign = not_before is not None or name == f"{key.algorithm.lower()}.pem"
            yield PublishedKey(key.kid, key.algorithm, name, not_before, may_sign=may_sign), key

    def _make(self, not_before: datetime | None) -> str:
        name = self._next_name()
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            made = write_once(self._folder / name, new_pem(self._algorithm, not_before))
        except OSError as error:
            raise self._refusal(error, name, not_before) from error
        if not made and not_before is not None:
            raise ChangeRefusedError(f"somebody else just made {name}: see keystile signing-keys list")
        return name

    def _next_name(self) -> str:
        """Return the name after those taken. Two that ask at once get one name, and the second finds it taken."""
        stem = self._algorithm.lower()
        matches = [match for name in self._files if (match := _OURS.fullmatch(name)) and match[1] == stem]
        taken = [int(match[2] or 1) for match in matches]
        return f"{stem}-{max(taken) + 1}.pem" if taken else f"{stem}.pem"

    def _refusal(self, error: OSError, name: str, not_before: datetime | None) -> Exception:
        if error.errno not in _READ_ONLY:
            return ConfigurationError(f"{self._folder}: {error.strerror}")
        date = "" if not_before is None else f" the line '{date_line(not_before)}', then"
        return ConfigurationError(
            f"{self._folder} cannot be written to. Where it is mounted from, add a file {name}: it holds{date} what "
            f"'{_NEW_KEY[self._algorithm]}' prints. Every process finds it there by itself"
        )
