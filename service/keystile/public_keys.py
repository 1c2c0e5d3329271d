"""Public keys that stand in a secret's place: how they are read, named, and how a signature under one is checked."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm, get_default_algorithms

from keystile.errors import PolicyRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    Loaded = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

MIN_RSA_BITS = 2048  # RFC 7518, section 3.3
MAX_RSA_BITS = 4096  # 683 characters of a record; and what it costs to check a signature is for us to choose
MAX_SIGNATURE = MAX_RSA_BITS // 8  # bytes
MAX_SIGNATURE_TEXT = 700  # characters: those bytes in base64url are 683
MAX_FILE = 8_192  # characters of a JWK or PEM
_P256_BYTES = 32
_USUAL_EXPONENT = 65537
_ED25519_BYTES, _ED25519_PRIME = 32, 2**255 - 19  # RFC 8032, 5.1
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
# The y of all points whose order divides 8. The attack: whoever registers one lets everybody sign for it.
_SMALL_ORDER = frozenset({0, 1, _ED25519_PRIME - 1, _ORDER_8, _ED25519_PRIME - _ORDER_8})
_ALGORITHMS = {"OKP": ("EdDSA", "Ed25519"), "EC": ("ES256",), "RSA": ("PS256", "RS256")}
_MEMBERS = {"OKP": ("crv", "kty", "x"), "EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n")}  # RFC 7638, 3.2
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_VERIFIERS = get_default_algorithms() | {"Ed25519": OKPAlgorithm()}
_TEXT_FORM = "keystile-auth-v1"

ALGORITHMS = tuple(sorted(each for family in _ALGORITHMS.values() for each in family))
"""The algorithms that anything may be signed under here (RFC 7518; RFC 8037; RFC 9864, where EdDSA is Ed25519)."""

TEXT_ALGORITHMS = {"OKP": "EdDSA", "EC": "ES256", "RSA": "PS256"}
"""What a challenge is signed under, by kind of key: P-256 as r and s of 32 bytes, PSS with a salt of 32 bytes."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key: Ed25519, P-256, or RSA of 2048 to 4096 bits.

    *canonical* is its JWK as RFC 7638 hashes it. *named* is the one algorithm its JWK named, "" if it named none.
    """

    canonical: str
    named: str = ""

    @classmethod
    def from_jwk(cls, document: Mapping[str, Any]) -> PublicKey:
        """Read a JWK (RFC 7517); raises `ValueError` for any other key, and for a private one."""
        if not _PRIVATE.isdisjoint(document):
            raise ValueError("this is a private key: keep it, and register its public half")
        kty = document.get("kty")
        members = _MEMBERS.get(kty) if isinstance(kty, str) else None
        if members is None:
            raise ValueError("a public key is Ed25519, P-256 or RSA")
        required = {name: document.get(name) for name in members}
        if not all(isinstance(value, str) and len(value) <= MAX_FILE for value in required.values()):
            raise ValueError("a member of the JWK is missing, or is no text")
        named = document.get("alg", "")
        if named not in ("", *_ALGORITHMS[str(kty)]):
            raise ValueError(f"such a key signs under {' or '.join(_ALGORITHMS[str(kty)])}")
        key = cls(json.dumps(required, separators=(",", ":"), sort_keys=True), named)
        _load(key.canonical)
        return key

    @classmethod
    def from_text(cls, text: str) -> PublicKey:
        """Read a JWK or a PEM; raises `ValueError`."""
        if len(text) > MAX_FILE:
            raise ValueError("a public key is shorter")
        if "PRIVATE KEY" in text:
            raise ValueError("this is a private key: keep it, and register its public half")
        if not text.lstrip().startswith("{"):
            return cls.from_jwk(_jwk_of_pem(text))
        return cls.from_jwk(json.loads(text))

    @property
    def kty(self) -> str:
        """The kind of key: OKP, EC or RSA."""
        return str(json.loads(self.canonical)["kty"])

    @property
    def algorithms(self) -> tuple[str, ...]:
        """What it may sign under."""
        return (self.named,) if self.named else _ALGORITHMS[self.kty]

    @property
    def algorithm(self) -> str:
        """The one it is called by where one is shown: its own, or what its kind signs challenges under."""
        return self.named or TEXT_ALGORITHMS[self.kty]

    @property
    def fingerprint(self) -> str:
        """Its RFC 7638 thumbprint (SHA-256, base64url, 43 characters): of all that have this key the same."""
        return encode(self._hash())

    @property
    def lookup(self) -> str:
        """The value by which a directory finds who holds it."""
        return lookup_of(self.fingerprint)

    def to_jwk(self) -> dict[str, str]:
        """Return its JWK: what is stored, and may be shown."""
        return {**json.loads(self.canonical), **({"alg": self.named} if self.named else {})}

    def load(self) -> Loaded:
        """Return what signatures are checked with."""
        return _load(self.canonical)

    def verifies(self, algorithm: str, text: bytes, signature: bytes) -> bool:
        """Tell whether *signature* over *text* was made by its private half under *algorithm*, and it may be."""
        if algorithm not in self.algorithms or len(signature) > MAX_SIGNATURE:
            return False
        key: Any = self.load()
        return _VERIFIERS[algorithm].verify(text, key, signature)

    def _hash(self) -> bytes:
        return hashlib.sha256(self.canonical.encode()).digest()


def lookup_of(fingerprint: str) -> str:
    """Return the look-up value of the key with that fingerprint; raises `ValueError` for what is none."""
    hashed = decode(fingerprint)
    if len(hashed) != hashlib.sha256().digest_size:
        raise ValueError("a fingerprint is 43 characters of base64url")
    return f"public-{hashed.hex()}"


def parse_public_key(read: Any, presented: Any) -> PublicKey:  # noqa: ANN401 - either reader, and what it takes
    """Return what *read* makes of a *presented* key, or raise a `PolicyRefusedError` that repeats none of it."""
    try:
        key: PublicKey = read(presented)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        said = str(error) if type(error) is ValueError else "a public key is a JWK or a PEM"
        raise PolicyRefusedError(said, "public_key") from None
    return key


def signed_text(*, issuer: str, purpose: str, fingerprint: str, algorithm: str, nonce: str, exp: int) -> bytes:
    """Return what the holder of a private key signs: for one server, one purpose, one key and one moment."""
    return "\n".join((_TEXT_FORM, issuer, purpose, fingerprint, algorithm, nonce, str(exp))).encode()


def encode(octets: bytes) -> str:
    """Return base64url without padding (RFC 7515, 2)."""
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def decode(text: str) -> bytes:
    """Read base64url as `encode` writes it; raises `ValueError` for every other way of writing the same."""
    try:
        octets = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("this is not base64url") from None
    if encode(octets) != text:
        raise ValueError("this is not base64url")
    return octets


@lru_cache(maxsize=1024)
def _load(canonical: str) -> Loaded:
    members = json.loads(canonical)
    if members["kty"] == "RSA":
        return _load_rsa(decode(members["n"]), decode(members["e"]))
    if members["kty"] == "EC" and members["crv"] == "P-256":
        x, y = decode(members["x"]), decode(members["y"])
        if len(x) != _P256_BYTES or len(y) != _P256_BYTES:
            raise ValueError("a coordinate of P-256 is 32 bytes")
        return ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), ec.SECP256R1()).public_key()
    if members["kty"] == "OKP" and members["crv"] == "Ed25519":
        return _load_ed25519(decode(members["x"]))
    raise ValueError("a public key is Ed25519, P-256 or RSA")


def _load_ed25519(point: bytes) -> ed25519.Ed25519PublicKey:
    # What stands for no point at all verifies nothing. OpenSSL takes a y beyond the prime, which is another
    # fingerprint of the same key, and points of small order.
    y = int.from_bytes(point, "little") & ((1 << 255) - 1)
    if len(point) != _ED25519_BYTES or y >= _ED25519_PRIME or y in _SMALL_ORDER:
        raise ValueError("an Ed25519 key is a point of 32 bytes, and not of small order")
    return ed25519.Ed25519PublicKey.from_public_bytes(point)


def _load_rsa(modulus: bytes, exponent: bytes) -> rsa.RSAPublicKey:
    # A leading zero would be another fingerprint of the same key.
    if not MIN_RSA_BITS <= int.from_bytes(modulus).bit_length() <= MAX_RSA_BITS or not modulus[0]:
        raise ValueError(f"an RSA key has {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")
    if exponent != _USUAL_EXPONENT.to_bytes(3):
        raise ValueError(f"the exponent of an RSA key is {_USUAL_EXPONENT}")
    return rsa.RSAPublicNumbers(_USUAL_EXPONENT, int.from_bytes(modulus)).public_key()


def _jwk_of_pem(text: str) -> dict[str, Any]:
    try:
        key = serialization.load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("a public key is a JWK or a PEM") from None
    if isinstance(key, rsa.RSAPublicKey):
        return dict(RSAAlgorithm.to_jwk(key, as_dict=True))
    if isinstance(key, ec.EllipticCurvePublicKey):
        return dict(ECAlgorithm.to_jwk(key, as_dict=True))
    if isinstance(key, ed25519.Ed25519PublicKey):
        return dict(OKPAlgorithm.to_jwk(key, as_dict=True))
    raise ValueError("a public key is Ed25519, P-256 or RSA")
