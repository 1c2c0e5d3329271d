"""What holders of a key build on: `KeystileAuth` for httpx. Nothing of the server is behind it, only httpx."""

from keystile.client.auth import KeystileAuth
from keystile.client.errors import (
    AddressError,
    ExchangeRefusedError,
    KeystileClientError,
    NoKeyError,
    UnavailableError,
)

__all__ = [
    "AddressError",
    "ExchangeRefusedError",
    "KeystileAuth",
    "KeystileClientError",
    "NoKeyError",
    "UnavailableError",
]
