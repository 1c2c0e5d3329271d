"""Seals: how what Redis keeps is encrypted, and bound to where it stands."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV

if TYPE_CHECKING:
    from keystile.peppers import Peppers

_NONCE = 12


def seal(cipher: AESGCM, plain: bytes, place: bytes) -> bytes:
    """Return *plain* sealed under a fresh nonce, which stands before it."""
    nonce = secrets.token_bytes(_NONCE)
    return nonce + cipher.encrypt(nonce, plain, place)


def unseal(cipher: AESGCM, sealed: bytes, place: bytes) -> bytes:
    """Return what `seal` sealed for *place*; raises InvalidTag or ValueError for anything else."""
    return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], place)


class Seal:
    """Seals texts for one purpose, under a key of each pepper; what no accepted one opens is None."""

    def __init__(self, peppers: Peppers, label: str) -> None:
        self._ciphers = [AESGCM(pepper.derive(label)) for pepper in peppers.accepted]

    def seal(self, text: str, place: str) -> bytes:
        """Return *text* sealed under the current pepper."""
        return seal(self._ciphers[0], text.encode(), place.encode())

    def open(self, sealed: bytes, place: str) -> bytes | None:
        """Return what was sealed for *place*."""
        for cipher in self._ciphers:
            try:
                return unseal(cipher, sealed, place.encode())
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
