"""Why a client got no JWT; none of these ever holds the key.

KeystileClientError
├── NoKeyError                 there is no API key at hand, or what is there is none
├── AddressError               the issuer's address cannot be used
├── ExchangeRefusedError       the server says no, and will say it again
└── UnavailableError           nobody could tell: try again later
"""

from __future__ import annotations


class KeystileClientError(Exception):
    """Root of all errors of the client part."""


class NoKeyError(KeystileClientError):
    """No API key was given, in whatever way; or what was given cannot be one."""


class AddressError(KeystileClientError):
    """The address of the issuer is none, or one to which no key may be sent."""


class ExchangeRefusedError(KeystileClientError):
    """The server refused, or is no Keystile: *status* is HTTP's, *error* the word of RFC 6749 or ``""``."""

    def __init__(self, message: str, *, status: int = 0, error: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.error = error


class UnavailableError(KeystileClientError):
    """No answer in time, or 429 or 5xx; *retry_after* is in seconds, None where nothing was said."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
