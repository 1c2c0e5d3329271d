"""The requests of the soak as bytes, prepared once for each credential."""

from __future__ import annotations

from urllib.parse import urlencode

_HOST = "Host: 127.0.0.1\r\n"


def verify_request(credential: str, address: str, path: str = "/sts/verify") -> bytes:
    """Return a gateway's question about *credential*, for a client at *address*."""
    return (
        f"GET {path} HTTP/1.1\r\n{_HOST}X-Forwarded-For: {address}\r\nAuthorization: Bearer {credential}\r\n\r\n"
    ).encode()


def token_request(key_id: str, api_key: str, address: str, path: str = "/sts/token") -> bytes:
    """Return the exchange of a key for a JWT, with the credentials in the form."""
    form = urlencode({"grant_type": "client_credentials", "client_id": key_id, "client_secret": api_key})
    return (
        f"POST {path} HTTP/1.1\r\n{_HOST}X-Forwarded-For: {address}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\n\r\n{form}"
    ).encode()
