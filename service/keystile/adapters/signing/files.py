"""Private signing keys in files (0600): made once, exclusively, loaded by every process."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from keystile.adapters.secret_files import read_or_make
from keystile.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

Algorithm = Literal["RS256", "ES256", "EdDSA"]
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_RSA_BITS = 2048  # RFC 7518, section 3.3
_THUMBPRINT_MEMBERS = ("crv", "e", "kty", "n", "x", "y")  # RFC 7638, section 3.2; RFC 8037 for OKP


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One private key, its algorithm, its public JWK, and its `kid`: the RFC 7638 thumbprint."""

    private: PrivateKey
    algorithm: Algorithm
    public_jwk: dict[str, Any]

    @property
    def kid(self) -> str:
        """The thumbprint."""
        return str(self.public_jwk["kid"])


def load_or_make(directory: Path, algorithm: Algorithm) -> SigningKey:
    """Return the signing key of *algorithm* in *directory*, making it if there is none."""
    path = directory / f"{algorithm.lower()}.pem"
    read_or_make(path, lambda: _pem(_generate(algorithm)))
    key = load(path)
    if key.algorithm != algorithm:
        raise ConfigurationError(f"the signing key {path} is for {key.algorithm}, not for {algorithm}")
    return key


def load_all(directory: Path, algorithm: Algorithm) -> list[SigningKey]:
    """Return the signing key of *algorithm* first, then every other key of the folder: their JWTs still live."""
    signing = load_or_make(directory, algorithm)
    others = [load(path) for path in sorted(directory.glob("*.pem"))]
    return [signing, *(key for key in others if key.kid != signing.kid)]


def load(path: Path) -> SigningKey:
    """Return the key in a PEM file, or raise a `ConfigurationError`."""
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(f"the signing key {path} cannot be read: {error}") from error
    if isinstance(private, rsa.RSAPrivateKey):
        if private.key_size < _RSA_BITS:
            raise ConfigurationError(f"the signing key {path} has fewer than {_RSA_BITS} bits")
        return _signing_key(private, "RS256", RSAAlgorithm.to_jwk(private.public_key(), as_dict=True))
    if isinstance(private, ec.EllipticCurvePrivateKey) and isinstance(private.curve, ec.SECP256R1):
        return _signing_key(private, "ES256", ECAlgorithm.to_jwk(private.public_key(), as_dict=True))
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return _signing_key(private, "EdDSA", OKPAlgorithm.to_jwk(private.public_key(), as_dict=True))
    raise ConfigurationError(f"the signing key {path} is neither RSA, P-256 nor Ed25519")


def thumbprint(jwk: dict[str, Any]) -> str:
    """Return the RFC 7638 thumbprint (SHA-256, base64url) of a public JWK."""
    members = {name: jwk[name] for name in _THUMBPRINT_MEMBERS if name in jwk}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).decode().rstrip("=")


def _signing_key(private: PrivateKey, algorithm: Algorithm, jwk: dict[str, Any]) -> SigningKey:
    public = {name: value for name, value in jwk.items() if name in _THUMBPRINT_MEMBERS}
    return SigningKey(private, algorithm, {**public, "kid": thumbprint(jwk), "use": "sig", "alg": algorithm})


def _generate(algorithm: Algorithm) -> PrivateKey:
    if algorithm == "RS256":
        return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate()


def _pem(private: PrivateKey) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
