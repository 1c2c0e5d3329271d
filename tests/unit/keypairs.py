"""Key pairs of every kind, and what their holders sign."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from keystile.public_keys import PublicKey
from unit.builders import ISSUER, NOW

KINDS = ("EdDSA", "ES256", "PS256")


@dataclass(frozen=True)
class Pair:
    """A private key and its public half. *algorithm* is what a challenge is signed under."""

    private: Any
    public: PublicKey
    algorithm: str

    def sign(self, text: bytes) -> bytes:
        """Sign a challenge in the one form that its algorithm has."""
        if self.algorithm == "EdDSA":
            return bytes(self.private.sign(text))
        if self.algorithm == "ES256":
            r, s = decode_dss_signature(self.private.sign(text, ec.ECDSA(SHA256())))
            return r.to_bytes(32) + s.to_bytes(32)
        return bytes(self.private.sign(text, padding.PSS(padding.MGF1(SHA256()), 32), SHA256()))


def new_pair(kind: str = "EdDSA") -> Pair:
    """Make a pair of its own."""
    if kind == "EdDSA":
        ed = ed25519.Ed25519PrivateKey.generate()
        return Pair(ed, PublicKey.from_jwk(OKPAlgorithm.to_jwk(ed.public_key(), as_dict=True)), kind)
    if kind == "ES256":
        p256 = ec.generate_private_key(ec.SECP256R1())
        return Pair(p256, PublicKey.from_jwk(ECAlgorithm.to_jwk(p256.public_key(), as_dict=True)), kind)
    private = rsa.generate_private_key(65537, 2048)
    return Pair(private, PublicKey.from_jwk(RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)), kind)


@cache
def pair(kind: str = "EdDSA", number: int = 1) -> Pair:
    """Return the pair of that kind and number: making RSA keys takes a while."""
    assert number
    return new_pair(kind)


def claims_for(key_id: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - claims
    """Return the claims of a good assertion at NOW, as the `mcp` SDK makes it; a change to None leaves one out."""
    now = int(NOW.timestamp())
    good = {"iss": key_id, "sub": key_id, "aud": ISSUER, "iat": now, "exp": now + 300, "jti": str(uuid4())}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def assertion(by: Pair, key_id: str, *, alg: str = "", header: dict[str, Any] | None = None, **changes: Any) -> str:  # noqa: ANN401 - claims
    """Return an assertion signed by that pair."""
    return jwt.encode(claims_for(key_id, **changes), by.private, alg or by.algorithm, headers=header)
