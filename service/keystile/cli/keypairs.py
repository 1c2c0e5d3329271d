"""Key pairs of people and programs: made, kept in files that nobody else can read, and used to sign in."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from keystile.adapters.secret_files import write_once
from keystile.adapters.signing.files import pem_of
from keystile.adapters.signing.jws import sign_es256
from keystile.errors import ChangeRefusedError
from keystile.public_keys import MAX_FILE, TEXT_ALGORITHMS, PublicKey, parse_public_key

if TYPE_CHECKING:
    from pathlib import Path

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_RSA_BITS = 3072
_SALT = 32


class KeyAlgorithm(StrEnum):
    """What a new key pair is for."""

    EDDSA = "EdDSA"
    ES256 = "ES256"
    PS256 = "PS256"


def make_pair(path: Path, algorithm: KeyAlgorithm) -> PublicKey:
    """Write a new private key to *path* (PEM, 0600), where nothing is yet, and return its public half."""
    private = _generate(algorithm)
    try:
        ours = write_once(path, pem_of(private))
    except OSError as error:
        raise ChangeRefusedError(f"{path}: {error.strerror}") from error
    if not ours:
        raise ChangeRefusedError(f"{path} is there already, and may hold a key: name another file")
    return public_half(private)


def load_private(path: Path) -> PrivateKey:
    """Return the private key in a PEM file, or raise a `ChangeRefusedError`."""
    try:
        private = serialization.load_pem_private_key(read_text(path).encode(), password=None)
    except (ValueError, TypeError) as error:
        raise ChangeRefusedError(f"{path} holds no private key in PEM without a password") from error
    if not isinstance(private, PrivateKey):
        raise ChangeRefusedError(f"{path}: a private key is Ed25519, P-256 or RSA")
    return private


def public_half(private: PrivateKey) -> PublicKey:
    """Return the public half of a private key; raises a `PolicyRefusedError` for a weak one."""
    pem = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return parse_public_key(PublicKey.from_text, pem.decode())


def sign_text(private: PrivateKey, text: bytes) -> bytes:
    """Sign a challenge, in the one form its algorithm has: see `TEXT_ALGORITHMS`."""
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return private.sign(text)
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return sign_es256(private, ec.ECDSA(SHA256()), text)
    return private.sign(text, padding.PSS(padding.MGF1(SHA256()), _SALT), SHA256())


def text_algorithm(public: PublicKey) -> str:
    """Return what the holder of that key signs challenges under."""
    return TEXT_ALGORITHMS[public.kty]


def read_text(path: Path) -> str:
    """Return what is in a file that should hold a key; raises a `ChangeRefusedError`."""
    try:
        with path.open(encoding="ascii") as file:
            return file.read(MAX_FILE + 1)
    except OSError as error:
        raise ChangeRefusedError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ChangeRefusedError(f"{path} is neither a JWK nor a PEM") from error


def _generate(algorithm: KeyAlgorithm) -> PrivateKey:
    if algorithm is KeyAlgorithm.PS256:
        return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    if algorithm is KeyAlgorithm.ES256:
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate()
