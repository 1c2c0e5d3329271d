"""Endpoint patterns of a policy, and the one reading of a request's path that they are matched against.

A pattern is methods and a path: `GET /v1/models`, `* /admin/*`, `GET,POST /files/**`. `*` is any method, or any one
segment; `**`, at the end alone, is any rest, none included. A path is read only if whoever serves it can read it in no
other way; what could be read in two ways fits no pattern that allows and every pattern that blocks.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

Segments = tuple[str, ...]
"""A path's segments, decoded; a trailing slash is one more, empty."""

_LONGEST = 4_096  # characters of a path; nothing longer is read
# RFC 3986's path, but for `;`: some servers cut a segment there, others do not.
_PATH = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,=:@-]|%[0-9A-Fa-f]{2})*)+")
# An escape of these is decoded by one server, kept by the next, and decoded twice by a third.
_DOUBTFUL = re.compile(r"[/\\;?#%]")
_ESCAPED_DOT = re.compile(r"%2e", re.IGNORECASE)
_METHODS = re.compile(r"\*|[A-Z]+(?:-[A-Z]+)*(?:,[A-Z]+(?:-[A-Z]+)*)*")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One pattern. No *methods*: any; None in *segments*: any one segment; *rest*: whatever follows."""

    methods: frozenset[str]
    segments: tuple[str | None, ...]
    rest: bool

    def allows(self, method: str, path: Segments | None) -> bool:
        """Tell whether the pattern names this request letter by letter."""
        if path is None or (self.methods and method not in self.methods):
            return False
        return _fit(self.segments, path, rest=self.rest)

    def blocks(self, method: str, path: Segments | None) -> bool:
        """Tell whether this request could reach what the pattern names.

        Servers differ in whether case, a trailing slash and compatible characters count, and they answer HEAD where
        they answer GET.
        """
        if path is None:
            return True
        method = method.upper()
        if self.methods and method not in self.methods and not (method == "HEAD" and "GET" in self.methods):
            return False
        wanted = tuple(None if each is None else _fold(each) for each in self.segments)
        return _fit(_without_slash(wanted), _without_slash(tuple(map(_fold, path))), rest=self.rest)


def parse_endpoint(text: str) -> Endpoint:
    """Read a pattern, or raise a ValueError that says what is wrong with it."""
    methods, _, path = text.partition(" ")
    if not _METHODS.fullmatch(methods):
        raise ValueError("it begins with * or methods in capitals, like `GET,POST /files/*`")
    raw = path.split("/")
    rest = raw[-1] == "**"
    raw = raw[:-1] if rest else raw
    if any("*" in each and each != "*" for each in raw):
        raise ValueError("* stands for one whole segment, ** for any rest at the end")
    segments = () if raw == [""] else read_path("/".join(raw))
    if segments is None or (rest and "" in segments) or not path.startswith("/") or "?" in path:
        raise ValueError("its path is absolute and plain: no empty or dot segments, no ; \\ ? # nor escapes of these")
    wild = tuple(None if written == "*" else read for written, read in zip(raw[1:], segments, strict=True))
    return Endpoint(frozenset() if methods == "*" else frozenset(methods.split(",")), wild, rest)


def read_path(target: str) -> Segments | None:
    """Return the segments of a request target's path, None if two servers could read them differently."""
    path = target.partition("?")[0]
    if len(path) > _LONGEST or not _PATH.fullmatch(path):
        return None
    *inner, last = path[1:].split("/")
    segments = [_read_segment(each) for each in inner]
    segments.append(_read_segment(last) if last else "")
    return None if None in segments else tuple(each for each in segments if each is not None)


def endpoints_allow(allowed: Iterable[str], blocked: Iterable[str], method: str, target: str) -> bool:
    """Tell whether these patterns let the request for *target* pass: no blocked one fits, and an allowed one if any.

    A stored pattern that nobody can read blocks everything, or allows nothing.
    """
    path = read_path(target)
    for text in blocked:
        pattern = _known(text)
        if pattern is None or pattern.blocks(method, path):
            return False
    patterns = [_known(text) for text in allowed]
    return not patterns or any(pattern is not None and pattern.allows(method, path) for pattern in patterns)


@lru_cache(maxsize=4_096)
def _known(text: str) -> Endpoint | None:
    try:
        return parse_endpoint(text)
    except ValueError:
        return None


def _read_segment(text: str) -> str | None:
    """Return a segment decoded, None if it is empty, made of dots, or holds what somebody might decode otherwise."""
    if _ESCAPED_DOT.search(text):
        return None
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return None
    for reading in (decoded, unicodedata.normalize("NFKC", decoded)):
        if not reading.isprintable() or _DOUBTFUL.search(reading):
            return None
        if reading != reading.strip(" ") or reading.endswith("."):  # Windows drops both; and `.` and `..` are no names
            return None
    return decoded or None


def _fold(segment: str) -> str:
    if segment.isascii():
        return segment.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", segment).casefold())


def _without_slash(segments: tuple[str | None, ...]) -> tuple[str | None, ...]:
    return segments[:-1] if segments and segments[-1] == "" else segments


def _fit(wanted: tuple[str | None, ...], path: tuple[str | None, ...], *, rest: bool) -> bool:
    if len(path) < len(wanted) or (len(path) > len(wanted) and not rest):
        return False
    return all(got if want is None else got == want for want, got in zip(wanted, path, strict=False))
