"""`private_key_jwt`: a client proves who it is by a JWT it signed itself (RFC 7523, 2.2 and 3; its bis draft)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from jwt import PyJWS
from jwt.algorithms import OKPAlgorithm
from jwt.exceptions import PyJWTError

from keystile.errors import KeyRefusedError, Reason
from keystile.public_keys import ALGORITHMS

if TYPE_CHECKING:
    from keystile.authority.signatures import Signatures
    from keystile.policy import RequestContext
    from keystile.ports import Clock
    from keystile.public_keys import PublicKey
    from keystile.verdicts import Verdict

MAX_ASSERTION = 4_096  # characters
LONGEST_LIFE = 3_600.0  # seconds: what client libraries give an assertion where nobody says
_CLOCKS_APART = 30.0  # seconds
_MAX_JTI = 256
_MAX_NUMBER = 2**53
_TYPES = (None, "JWT", "client-authentication+jwt")
_UNDERSTOOD_NEVER = frozenset({"crit", "b64", "enc", "zip"})
_jws = PyJWS(algorithms=list(ALGORITHMS))
_jws.register_algorithm("Ed25519", OKPAlgorithm())  # RFC 9864: PyJWT knows it as EdDSA alone


@dataclass(frozen=True, slots=True)
class Assertion:
    """An assertion as it was presented: nothing in it is proved yet."""

    text: str
    unverified_header: dict[str, Any]
    unverified_claims: dict[str, Any]
    signature: bytes

    @classmethod
    def parse(cls, presented: str) -> Assertion:
        """Read a compact JWS of at most 4,096 characters, or raise a `KeyRefusedError`."""
        if len(presented) > MAX_ASSERTION or not presented.isascii() or presented.count(".") != 2:  # noqa: PLR2004 - RFC 7515, 7.1
            raise KeyRefusedError(Reason.MALFORMED)
        try:
            parts = _jws.decode_complete(presented, options={"verify_signature": False})
            claims = json.loads(parts["payload"])
        except (PyJWTError, ValueError, RecursionError):
            raise KeyRefusedError(Reason.MALFORMED) from None
        if not isinstance(claims, dict) or not _UNDERSTOOD_NEVER.isdisjoint(parts["header"]):
            raise KeyRefusedError(Reason.MALFORMED)
        return cls(presented, parts["header"], claims, parts["signature"])

    @property
    def unverified_client_id(self) -> str:
        """Who says to have made it, of itself alone; raises `KeyRefusedError` if it says two things."""
        subject = self.unverified_claims.get("sub")
        if not isinstance(subject, str) or self.unverified_claims.get("iss") != subject:
            raise KeyRefusedError(Reason.MALFORMED)
        return subject


@dataclass(frozen=True, kw_only=True)
class AssertionVerifier:
    """Verifies assertions that were made for *issuer*, byte for byte, and for nobody else."""

    signatures: Signatures
    issuer: str
    clock: Clock

    async def verify(self, presented: str, context: RequestContext) -> Verdict:
        """Return the verdict on the client that made the assertion *presented*.

        Raises `KeyRefusedError`, `CannotTellError`, `TooManyFailuresError` or `LimitReachedError`, all audited.
        """
        with self.signatures.audited(context):
            assertion = Assertion.parse(presented)
            client = self.signatures.ids.parse(assertion.unverified_client_id)  # no I/O for one that is made up

            async def prove(key: PublicKey) -> None:
                check_signature(assertion, key, client.tag)
                until = check_claims(assertion.unverified_claims, self.issuer, self.clock().timestamp())
                # Hashed, so that nothing a client wrote is a name in Redis.
                jti = hashlib.sha256(assertion.unverified_claims["jti"].encode(errors="surrogatepass")).hexdigest()
                await self.signatures.once(f"assertion:{client.tag}:{jti}", until)

            return await self.signatures.verify(client, assertion.signature, context, prove)


def check_signature(assertion: Assertion, key: PublicKey, key_id: str) -> None:
    """Raise a `KeyRefusedError` unless *key* signed the assertion, under an algorithm that is the key's to choose.

    The attack: `none`, or HS256 with the public key for a secret. No header names a key to us: a `kid` must be the
    fingerprint or the id of the one that is registered.
    """
    header = assertion.unverified_header
    if header.get("typ") not in _TYPES or header.get("kid") not in (None, key.fingerprint, key_id):
        raise KeyRefusedError(Reason.BAD_SIGNATURE)
    try:
        _jws.decode_complete(assertion.text, key.load(), algorithms=list(key.algorithms))
    except (PyJWTError, ValueError, TypeError):
        raise KeyRefusedError(Reason.BAD_SIGNATURE) from None


def check_claims(claims: dict[str, Any], issuer: str, now: float) -> float:
    """Return for how many seconds the `jti` must be remembered, or raise a `KeyRefusedError`.

    `aud` is the issuer alone, as one string: an assertion for a list, or for a token URL, may be good elsewhere too.
    """
    expires_at, jti = claims.get("exp"), claims.get("jti")
    for name in ("iat", "nbf"):
        begins_at = claims.get(name, 0)
        if not _is_moment(begins_at) or begins_at > now + _CLOCKS_APART:
            raise KeyRefusedError(Reason.ASSERTION_REFUSED)
    if not _is_moment(expires_at) or not now < expires_at <= now + LONGEST_LIFE + _CLOCKS_APART:
        raise KeyRefusedError(Reason.ASSERTION_REFUSED)
    if not isinstance(jti, str) or not 0 < len(jti) <= _MAX_JTI or claims.get("aud") != issuer:
        raise KeyRefusedError(Reason.ASSERTION_REFUSED)
    return float(expires_at - now) + _CLOCKS_APART


def _is_moment(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MAX_NUMBER
