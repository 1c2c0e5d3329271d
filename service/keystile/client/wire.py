"""One request to the server: bounded in time and size, to the address that was named and nowhere else."""

from __future__ import annotations

import ipaddress
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import httpx

from keystile.client.errors import AddressError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

MAX_ANSWER = 65_536  # bytes
_LONGEST_SAID = 200  # characters of a server's own words
_PLAIN = {"Accept": "application/json", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; *document* is the JSON object in it, None if there is none, *retry_after* is in seconds."""

    status: int
    document: dict[str, Any] | None
    retry_after: float | None = None

    @classmethod
    def of(cls, response: httpx.Response, body: bytes) -> Answer:
        """Return what *response* says, with the *body* that was read of it."""
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        found = document if isinstance(document, dict) else None
        return cls(response.status_code, found, _seconds(response.headers.get("retry-after", "")))

    @property
    def error(self) -> str:
        """The OAuth error word, made fit to be shown."""
        return shown(str((self.document or {}).get("error", "")))

    @property
    def said(self) -> str:
        """The status, with what the server says of it."""
        words = (str((self.document or {}).get(name, "")) for name in ("error", "error_description"))
        return shown(" ".join(word for word in (str(self.status), *words) if word))


def server_url(url: str, plain_http: Container[str] = ()) -> str:
    """Return the issuer's address without a slash at the end, or raise an `AddressError`.

    The attack: whoever is on the way reads the key, or answers with signing keys of their own. So plain http is for
    loopback, and for hosts that are named in *plain_http*.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo or parsed.query or parsed.fragment:
        raise AddressError("the server's issuer is a URL like https://id.example.com/sts")
    if parsed.scheme == "http" and not _is_loopback(parsed.host) and parsed.host not in plain_http:
        raise AddressError(f"{shown(url)} is plain http, and not on this machine: no key is sent there")
    return url.rstrip("/")


def post(
    url: str,
    *,
    within: float,
    headers: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    document: Mapping[str, Any] | None = None,
) -> Answer:
    """Post *form* or *document* to *url*; whatever is no answer within that many seconds is unavailable."""
    deadline = time.monotonic() + within
    sent = {**_PLAIN, **(headers or {})}
    try:
        with (
            httpx.Client(timeout=max(within, 0.1), trust_env=may_use_proxy(url), follow_redirects=False) as client,
            client.stream("POST", url, headers=sent, data=form, json=document) as response,
        ):
            return Answer.of(response, _read(response, deadline))
    except (httpx.HTTPError, OSError) as error:
        # Not raised from here: httpx's errors hold the request, and that holds the key.
        why = shown(str(error) or type(error).__name__)
    raise UnavailableError(f"{url} does not answer: {why}")


def may_use_proxy(url: str) -> bool:
    """Tell whether a proxy of the environment may come between: not where it would read what is sent."""
    return url.startswith("https:")


def shown(text: str) -> str:
    """Return *text*, which somebody else wrote, as it may be printed."""
    return "".join(letter for letter in text if letter.isprintable())[:_LONGEST_SAID]


def _read(response: httpx.Response, deadline: float) -> bytes:
    body = b""
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > MAX_ANSWER:
            raise OSError("too much of an answer")
        if time.monotonic() > deadline:
            raise OSError("too slow an answer")
    return body


def _seconds(text: str) -> float | None:
    """Read `Retry-After`: seconds or a date (RFC 9110, section 10.2.3)."""
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):  # none, or nonsense; a date without a zone cannot be told either
        return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
