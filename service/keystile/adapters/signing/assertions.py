"""Assertions by which the realm is asked for tokens (RFC 7523, section 3), and the private key that signs them.

Whoever holds that key, and the secret of the client `keystile-tokens`, gets tokens of every owner that is linked. So it
is a key of its own: Keycloak does not look at `typ`, and would take an access token signed by it as an assertion.
"""

from __future__ import annotations

import secrets
from functools import cache
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import serialization

from keystile.adapters.signing.files import load, load_or_make
from keystile.adapters.signing.jws import JwsSigner
from keystile.errors import CannotTellError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keystile.adapters.signing.files import SigningKey

ALGORITHM: Final = "ES256"
_LIFE = 30  # seconds; the realm takes none that lives longer than 60


class Assertions:
    """Signs one assertion after another; *clock* is the realm's, in epoch seconds, *audience* its issuer."""

    def __init__(self, key: SigningKey, *, issuer: str, audience: str, clock: Callable[[], float]) -> None:
        self._signer = JwsSigner(key, {"kid": key.kid, "typ": "JWT"})
        self._issuer = issuer
        self._audience = audience
        self._clock = clock

    def about(self, subject: str) -> str:
        """Return an assertion about whoever is linked as *subject*, good for one request."""
        now = int(self._clock())
        return self._signer.sign(
            {
                "iss": self._issuer,
                "sub": subject,
                "aud": self._audience,
                "iat": now,
                "exp": now + _LIFE,
                "jti": secrets.token_hex(16),
            }
        )


def assertions_from(directory: Path, *, issuer: str, audience: str, clock: Callable[[], float]) -> Callable[[str], str]:
    """Return what makes assertions, with the key of *directory*, read when it is first needed.

    Whoever only stops keys, on a machine without that folder, needs none: then it raises `CannotTellError`.
    """

    @cache
    def opened() -> Assertions:
        return Assertions(load_assertion_key(directory), issuer=issuer, audience=audience, clock=clock)

    def about(subject: str) -> str:
        try:
            return opened().about(subject)
        except ConfigurationError as error:
            raise CannotTellError(str(error)) from error

    return about


def make_assertion_key(directory: Path) -> SigningKey:
    """Return the key that signs assertions, making it if there is none: for set-up, which tells the realm of it."""
    return load_or_make(directory, ALGORITHM)


def load_assertion_key(directory: Path) -> SigningKey:
    """Return that key. Raises `ConfigurationError` where set-up made none: one made here the realm would not know."""
    path = directory / f"{ALGORITHM.lower()}.pem"
    if not path.exists():
        raise ConfigurationError(
            f"there is no assertion key {path}: run 'keystile keycloak setup' with KEYSTILE_ISSUER_KIND=keycloak"
            " on this data folder, or copy it from where that was run"
        )
    return load(path)


def public_pem(key: SigningKey) -> str:
    """Return the public half, as Keycloak is told it."""
    public = key.private.public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()
