"""Ids of public-key credentials: stamped, so that a made-up one is thrown away before anybody is asked.

A secret key is stamped as a whole; of these the id is all that comes in beside a signature.
"""

from __future__ import annotations

import re
import secrets
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keystile.errors import KeyRefusedError, Reason
from keystile.keys import ApiKey, Stamps

if TYPE_CHECKING:
    from keystile.peppers import Pepper, Peppers

_ALPHABET = string.digits + string.ascii_lowercase  # Keycloak's search is case-insensitive
_DRAWN = 7
_STAMP = 5
_SHAPE = re.compile(r"[0-9a-z]{12}", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ClientId(ApiKey):
    """The id of a public-key credential, in a key's place where records are looked up and verdicts kept.

    It names a record and proves nothing: whoever looks one up checks a signature before anything else. Its cache name
    comes of a MAC of its own, so no text that is presented as a key can have the same.
    """


class ClientIds:
    """Draws and reads the ids of one deployment's public-key credentials."""

    def __init__(self, peppers: Peppers, *, stamps: Stamps = Stamps.ENFORCE) -> None:
        self._peppers = peppers
        self._stamps = stamps

    def parse(self, presented: str) -> ClientId:
        """Return the id *presented*, or raise a `KeyRefusedError`: malformed or forged. No I/O."""
        if not _SHAPE.fullmatch(presented):
            raise KeyRefusedError(Reason.MALFORMED)
        stamped_by = self._stamped_by(presented)
        if stamped_by is None and self._stamps is Stamps.ENFORCE:
            raise KeyRefusedError(Reason.FORGED)
        text = f"client:{presented}"
        return ClientId(
            text, "live", presented, stamped_by, self._peppers.current.client_name.digest(text.encode()), presented
        )

    def generate(self) -> ClientId:
        """Return a fresh id: 36 bits of chance and 25 of stamp."""
        drawn = "".join(secrets.choice(_ALPHABET) for _ in range(_DRAWN))
        return self.parse(drawn + _make_stamp(self._peppers.current, drawn))

    def _stamped_by(self, text: str) -> str | None:
        drawn, stamp = text[:_DRAWN], text[_DRAWN:]
        for pepper in self._peppers.all:
            if secrets.compare_digest(_make_stamp(pepper, drawn), stamp):
                return pepper.id
        return None


def _make_stamp(pepper: Pepper, drawn: str) -> str:
    number = int.from_bytes(pepper.client_stamp.digest(drawn.encode())[:8])
    digits = []
    for _ in range(_STAMP):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)
