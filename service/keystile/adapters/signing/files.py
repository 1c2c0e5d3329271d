"""Private signing keys in PEM files (0600), each with its not-before-use in the text before the key.

RFC 7468, section 5.2, lets text stand there: so key and date are one file, and come and go together.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
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
_MOST_BYTES = 65_536
_DATE = re.compile(rb"^Not-Before-Use:[ \t]*(.*?)[ \t\r]*$", re.MULTILINE | re.IGNORECASE)
_BEGIN = b"-----BEGIN"
_THUMBPRINT_MEMBERS = ("crv", "e", "kty", "n", "x", "y")  # RFC 7638, section 3.2; RFC 8037 for OKP


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One private key, its algorithm, its public JWK, and its `kid`: the RFC 7638 thumbprint.

    *not_before*: it signs no earlier; None: nothing is said of that.
    """

    private: PrivateKey
    algorithm: Algorithm
    public_jwk: dict[str, Any]
    not_before: datetime | None = None

    @property
    def kid(self) -> str:
        """The thumbprint."""
        return str(self.public_jwk["kid"])


def load_or_make(directory: Path, algorithm: Algorithm) -> SigningKey:
    """Return the signing key of *algorithm* in *directory*, making it if there is none."""
    path = directory / f"{algorithm.lower()}.pem"
    read_or_make(path, lambda: new_pem(algorithm))
    key = load(path)
    if key.algorithm != algorithm:
        raise ConfigurationError(f"the signing key {path} is for {key.algorithm}, not for {algorithm}")
    return key


def new_pem(algorithm: Algorithm, not_before: datetime | None = None) -> bytes:
    """Return a fresh private key as the content of its file."""
    return (b"" if not_before is None else f"{date_line(not_before)}\n".encode()) + pem_of(_generate(algorithm))


def date_line(not_before: datetime) -> str:
    """Return the line that says when a key may sign, in whole seconds."""
    return f"Not-Before-Use: {not_before.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%SZ')}"


def load(path: Path) -> SigningKey:
    """Return the key in a PEM file, or raise a `ConfigurationError` that names it."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES)
        private = serialization.load_pem_private_key(content, password=None)
        not_before = read_not_before(content)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(f"the signing key {path} cannot be read: {error}") from error
    if isinstance(private, rsa.RSAPrivateKey):
        if private.key_size < _RSA_BITS:
            raise ConfigurationError(f"the signing key {path} has fewer than {_RSA_BITS} bits")
        return _signing_key(private, "RS256", RSAAlgorithm.to_jwk(private.public_key(), as_dict=True), not_before)
    if isinstance(private, ec.EllipticCurvePrivateKey) and isinstance(private.curve, ec.SECP256R1):
        return _signing_key(private, "ES256", ECAlgorithm.to_jwk(private.public_key(), as_dict=True), not_before)
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return _signing_key(private, "EdDSA", OKPAlgorithm.to_jwk(private.public_key(), as_dict=True), not_before)
    raise ConfigurationError(f"the signing key {path} is neither RSA, P-256 nor Ed25519")


def read_not_before(content: bytes) -> datetime | None:
    """Return the date before the key in a file, None if there is none; raises ValueError for what is no one date.

    A date nobody can read must not pass for none: a key without one may sign at once.
    """
    dates = _DATE.findall(content.partition(_BEGIN)[0])
    if not dates:
        return None
    if len(dates) > 1:
        raise ValueError("more than one Not-Before-Use")
    not_before = datetime.fromisoformat(dates[0].decode("ascii"))
    if not_before.tzinfo is None:
        raise ValueError("Not-Before-Use names no time zone")
    return not_before.astimezone(UTC)


def thumbprint(jwk: dict[str, Any]) -> str:
    """Return the RFC 7638 thumbprint (SHA-256, base64url) of a public JWK."""
    members = {name: jwk[name] for name in _THUMBPRINT_MEMBERS if name in jwk}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).decode().rstrip("=")


def _signing_key(
    private: PrivateKey, algorithm: Algorithm, jwk: dict[str, Any], not_before: datetime | None
) -> SigningKey:
    public = {name: value for name, value in jwk.items() if name in _THUMBPRINT_MEMBERS}
    described = {**public, "kid": thumbprint(jwk), "use": "sig", "alg": algorithm}
    return SigningKey(private, algorithm, described, not_before)


def _generate(algorithm: Algorithm) -> PrivateKey:
    if algorithm == "RS256":
        return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate()


def pem_of(private: PrivateKey) -> bytes:
    """Return a private key as a PEM file holds it (PKCS #8), without a password."""
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
