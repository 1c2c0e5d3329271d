"""Challenges: nonces that cost no storage until they are used, and are good once, for one key and one purpose."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keystile.errors import KeyRefusedError, Reason
from keystile.public_keys import decode, encode, signed_text

if TYPE_CHECKING:
    from keystile.authority.signatures import Signatures
    from keystile.peppers import Pepper, Peppers
    from keystile.ports import Clock

NONCE_TTL = 120  # seconds
_RANDOM, _MOMENT, _MAC = 16, 6, 16  # bytes
_CLOCKS_APART = 30.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a challenge is bound to: *purpose*, the key of that *fingerprint*, and what it signs under."""

    purpose: str
    fingerprint: str
    algorithm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What came back: the *nonce* of a challenge, and a *signature* over its text."""

    question: Question
    nonce: str
    signature: bytes


@dataclass(frozen=True, kw_only=True)
class Challenges:
    """Makes and spends nonces: a random part, its end, and a MAC under a pepper over these and the question.

    Nothing is looked up to make one, so it tells nobody which keys are known.
    """

    peppers: Peppers
    signatures: Signatures
    issuer: str
    clock: Clock

    def make(self, question: Question) -> tuple[str, int]:
        """Return a fresh nonce and when it ends (epoch seconds)."""
        ends_at = int(self.clock().timestamp()) + NONCE_TTL
        body = secrets.token_bytes(_RANDOM) + ends_at.to_bytes(_MOMENT)
        return encode(body + _mac(self.peppers.current, question, body)), ends_at

    async def spend(self, answered: Answered) -> bytes:
        """Return the text that must have been signed; its nonce is used up, whatever comes of it.

        Raises `KeyRefusedError` for a nonce that is not ours, for another question, over, or used already in any
        process, and `CannotTellError`.
        """
        question = answered.question
        body = self._opened(answered.nonce, question)
        ends_at = int.from_bytes(body[_RANDOM:])
        left = ends_at - self.clock().timestamp()
        if left <= 0:
            raise KeyRefusedError(Reason.NONCE_REFUSED)
        await self.signatures.once(f"nonce:{body[:_RANDOM].hex()}", left + _CLOCKS_APART)
        return signed_text(
            issuer=self.issuer,
            purpose=question.purpose,
            fingerprint=question.fingerprint,
            algorithm=question.algorithm,
            nonce=answered.nonce,
            exp=ends_at,
        )

    def _opened(self, nonce: str, question: Question) -> bytes:
        try:
            octets = decode(nonce)
        except ValueError:
            octets = b""
        body, mac = octets[: _RANDOM + _MOMENT], octets[_RANDOM + _MOMENT :]
        good = [secrets.compare_digest(_mac(pepper, question, body), mac) for pepper in self.peppers.accepted]
        if len(body) != _RANDOM + _MOMENT or not any(good):
            raise KeyRefusedError(Reason.NONCE_REFUSED)
        return body


def _mac(pepper: Pepper, question: Question, body: bytes) -> bytes:
    said = f"{question.purpose}\n{question.fingerprint}\n{question.algorithm}".encode()
    return pepper.nonce.digest(body + said)[:_MAC]
