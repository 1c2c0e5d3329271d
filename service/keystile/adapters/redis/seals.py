"""Seals for what Redis keeps beside verdicts: under a key of each pepper, opened under any that is accepted."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV

if TYPE_CHECKING:
    from keystile.peppers import Peppers

_NONCE = 12


class Seal:
    """Seals texts for one purpose, each bound to where it stands; what does not open there is None."""

    def __init__(self, peppers: Peppers, label: str) -> None:
        self._ciphers = [AESGCM(pepper.derive(label)) for pepper in peppers.accepted]

    def seal(self, text: str, place: str) -> bytes:
        """Return *text* sealed under the current pepper."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._ciphers[0].encrypt(nonce, text.encode(), place.encode())

    def open(self, sealed: bytes, place: str) -> bytes | None:
        """Return what was sealed for *place*."""
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], place.encode())
            except (InvalidTag, ValueError):
                continue
        return None


class Name:
    """Seals names so that the same one for the same place is the same again (RFC 5297), to be counted unopened."""

    def __init__(self, peppers: Peppers, label: str) -> None:
        self._ciphers = [AESSIV(pepper.derive(label)) for pepper in peppers.accepted]

    def seal(self, text: str, place: str) -> str:
        """Return *text* sealed under the current pepper, in hex."""
        return self._ciphers[0].encrypt(text.encode(), [place.encode()]).hex()

    def open(self, sealed: bytes, place: str) -> str | None:
        """Return what was sealed for *place*."""
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(bytes.fromhex(sealed.decode()), [place.encode()]).decode()
            except (InvalidTag, ValueError):
                continue
        return None
