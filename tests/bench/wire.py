"""Requests as they go over the wire: made once, sent many times, by whichever load generator."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from stack.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Mapping

_VERIFY = "/sts/verify"
_TOKEN = "/sts/token"
_INTROSPECT = "/sts/introspect"


def get(path: str, **headers: str) -> bytes:
    """Return a GET of *path*; underscores in the names of *headers* stand for hyphens."""
    return _request("GET", path, headers)


def form(path: str, fields: Mapping[str, str], **headers: str) -> bytes:
    """Return a POST of *fields* as a form."""
    body = urlencode(fields)
    about = {"Content_Type": "application/x-www-form-urlencoded", "Content_Length": str(len(body)), **headers}
    return _request("POST", path, about, body)


def verify(api_key: str) -> bytes:
    """Return the gateway's question about a key."""
    return get(_VERIFY, Authorization=f"Bearer {api_key}")


def exchange(key_id: str, api_key: str) -> bytes:
    """Return the exchange of a key for a JWT."""
    return form(_TOKEN, {"grant_type": "client_credentials", "client_id": key_id, "client_secret": api_key})


def introspect(token: str, api_key: str) -> bytes:
    """Return the question of a resource server, which holds a key, about a token."""
    return form(_INTROSPECT, {"token": token}, Authorization=f"Bearer {api_key}")


def _request(method: str, path: str, headers: Mapping[str, str], body: str = "") -> bytes:
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in {"Host": LOOPBACK, **headers}.items()]
    return "\r\n".join([*lines, "", body]).encode()
