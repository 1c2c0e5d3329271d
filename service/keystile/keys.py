"""API keys: their format, their stamp, and the one way to their text."""

from __future__ import annotations

import re
import secrets
import string
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, NoReturn

from keystile.errors import ConfigurationError, KeyRefusedError, Reason

if TYPE_CHECKING:
    from keystile.peppers import Pepper, Peppers

Environment = Literal["live", "test"]

MAX_JWT = 8_192  # characters: what gateways take in one header
MAX_KEY_BYTES = 72  # bcrypt reads no more, and bcrypt 5 raises above it
OLDER_BRAND = "mcpkey"
_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PAIRS = tuple(low + high for high in _BASE62 for low in _BASE62)  # of a number's digits, the lowest first
_ID_ALPHABET = string.digits + string.ascii_lowercase  # Keycloak's search is case-insensitive
_ID_LENGTH = 12
_SECRET_LENGTH = 32
_STAMP_LENGTH = 6
_BRAND = re.compile(r"[a-z][a-z0-9]{0,14}")
_OLDER = re.compile(rf"{OLDER_BRAND}_(live|test)_[A-Za-z0-9_-]{{43}}", re.ASCII)
_JWT = r"eyJ[\w-]{8,}(?:\.[\w-]*)*"
_CREDENTIAL = re.compile(rf"[A-Za-z0-9]+_(?:live|test)_[\w-]{{12,}}|{_JWT}", re.ASCII)
_MARKS = ("_live_", "_test_", "eyJ")  # one of them stands in each of these
# Whole ones only: somebody may well call a project `shop_test_environments`.
_WHOLE_CREDENTIAL = re.compile(r"_(?:live|test)_[\w-]{36,}|eyJ[\w-]{8,}\.[\w-]{8,}\.", re.ASCII | re.IGNORECASE)


class Stamps(StrEnum):
    """What an unknown stamp means: refusal, or (peppers lost) a look-up decided by bcrypt."""

    ENFORCE = "enforce"
    ADVISORY = "advisory"


@dataclass(frozen=True, slots=True, eq=False)
class ApiKey:
    """A well-shaped presented key; nothing about it is proved yet.

    *key_id* is None for the older format. *stamp_pepper* is the id of the pepper whose stamp it carries,
    None where there is no stamp or (advisory) an unknown one. *name* is its cache name, 32 bytes.
    """

    _text: str
    environment: Environment
    key_id: str | None
    stamp_pepper: str | None
    name: bytes
    tag: str

    def reveal(self) -> str:
        """Return the key's text. Every caller of this is a place where a key could leak."""
        return self._text

    def __repr__(self) -> str:
        """Show what may be logged, and no more."""
        return f"<ApiKey {self.tag}>"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: a key leaves this process by `reveal` or not at all."""
        raise TypeError("an API key is neither pickled nor copied; see reveal")


class KeyFormat:
    """The shape of one deployment's keys: `{brand}_{env}_{key id}_{secret}{stamp}`, and the older one."""

    def __init__(
        self, peppers: Peppers, *, brand: str = "mcpkey", stamps: Stamps = Stamps.ENFORCE, older: bool = False
    ) -> None:
        check_brand(brand)
        self._peppers = peppers
        self._brand = brand
        self._stamps = stamps
        self._older = older
        self._shape = re.compile(
            rf"{brand}_(live|test)_([0-9a-z]{{{_ID_LENGTH}}})_"
            rf"[A-Za-z0-9]{{{_SECRET_LENGTH}}}([A-Za-z0-9]{{{_STAMP_LENGTH}}})",
            re.ASCII,
        )

    def name(self, presented: bytes) -> bytes:
        """Return the cache name of at most 72 *presented* bytes, whatever they are."""
        return self._peppers.current.cache_name.digest(presented)

    def parse(self, presented: str, name: bytes | None = None) -> ApiKey:
        """Return the key *presented*, or raise a `KeyRefusedError`: malformed or forged. No I/O, no bcrypt.

        *name*: its cache name, where that is known already.
        """
        read = self.read(presented, name)
        if isinstance(read, ApiKey):
            return read
        raise KeyRefusedError(read)

    def read(self, presented: str, name: bytes | None = None) -> ApiKey | Reason:
        """Return what `parse` does, or why it would refuse: a flood of forged keys is told so at less cost."""
        if len(presented) > MAX_KEY_BYTES:
            return Reason.MALFORMED
        match = self._shape.fullmatch(presented)
        if match is None:
            return self._read_older(presented)
        key_id, stamp = match[2], match[3]
        pepper_id = self._stamped_by(presented[:-_STAMP_LENGTH].encode(), stamp)
        if pepper_id is None and self._stamps is Stamps.ENFORCE:
            return Reason.FORGED
        name = name or self.name(presented.encode())
        return ApiKey(presented, _environment(match[1]), key_id, pepper_id, name, key_id)

    def generate(self, environment: Environment, key_id: str = "") -> ApiKey:
        """Return a fresh key: a 12-character id, a new one unless it is given, and a secret of 190 bits."""
        key_id = key_id or "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))
        secret = "".join(secrets.choice(_BASE62) for _ in range(_SECRET_LENGTH))
        body = f"{self._brand}_{environment}_{key_id}_{secret}"
        return self.parse(body + make_stamp(self._peppers.current, body.encode()))

    def _stamped_by(self, body: bytes, stamp: str) -> str | None:
        # Looks wrong: a 35-bit tag guards a 190-bit secret. It is not the guard: it only lets us drop a
        # forged key before any I/O, and the secret is proved afterwards. Depends on: nothing trusts the stamp alone.
        for pepper in self._peppers.all:
            if secrets.compare_digest(make_stamp(pepper, body), stamp):
                return pepper.id
        return None

    def _read_older(self, presented: str) -> ApiKey | Reason:
        match = _OLDER.fullmatch(presented) if self._older else None
        if match is None:
            return Reason.MALFORMED
        text = presented.encode()
        tag = self._peppers.current.tag.digest(text).hex()[:8]
        return ApiKey(presented, _environment(match[1]), None, None, self.name(text), tag)


def looks_like_jwt(text: str) -> bool:
    """Tell whether *text* could be one of our JWTs by its form (RFC 7515, 7.1): no API key has a dot in it."""
    return len(text) <= MAX_JWT and text.startswith("eyJ") and text.count(".") == 2  # noqa: PLR2004


def holds_credential(text: str) -> bool:
    """Tell whether an API key of any brand, or a JWT, stands in *text*: something not to be kept or repeated."""
    return _WHOLE_CREDENTIAL.search(text) is not None


def without_credentials(text: str) -> str:
    """Return *text* with whatever may be an API key or a JWT, or a part of one, replaced."""
    if not any(mark in text for mark in _MARKS):
        return text
    return _CREDENTIAL.sub("(secret)", text)


def check_brand(brand: str) -> None:
    """Raise a `ConfigurationError` unless keys can begin with *brand*."""
    if not _BRAND.fullmatch(brand):
        raise ConfigurationError("a brand is 1 to 15 characters of [a-z0-9], a letter first")


def make_stamp(pepper: Pepper, body: bytes) -> str:
    """Return the six base62 characters that end a key whose other characters are *body*."""
    rest, one = divmod(int.from_bytes(pepper.stamp.digest(body)[:8]), len(_PAIRS))
    rest, two = divmod(rest, len(_PAIRS))
    return _PAIRS[one] + _PAIRS[two] + _PAIRS[rest % len(_PAIRS)]


def _environment(text: str) -> Environment:
    return "test" if text == "test" else "live"
