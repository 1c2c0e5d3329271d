"""Cursors of listings: where the next page begins, opaque to the client, and worth nothing but that."""

from __future__ import annotations

import base64
import json
import re

from keystile.authority.administration import Place
from keystile.http.api.reading import FieldsError

_AFTER = re.compile(r"[A-Za-z0-9._:-]{0,64}", re.ASCII)
_MARK = re.compile(r"[0-9a-f]{8}")
_MAX_SEEN = 32


def read_cursor(text: str | None) -> Place:
    """Read what `write_cursor` wrote, None for the beginning; raises `FieldsError`."""
    if text is None:
        return Place()
    try:
        after, skip, seen = json.loads(base64.urlsafe_b64decode(text.encode("ascii") + b"=="))
        if not _AFTER.fullmatch(after) or type(skip) is not int or skip < 0 or len(seen) > _MAX_SEEN:
            raise TypeError  # noqa: TRY301 - one answer to whatever is wrong with it
        if not all(_MARK.fullmatch(each) for each in seen):
            raise TypeError  # noqa: TRY301
        return Place(after, skip, tuple(seen))
    except (ValueError, TypeError, RecursionError) as error:
        raise FieldsError([("cursor", "is none of ours")]) from error


def write_cursor(place: Place) -> str:
    """Return the opaque form of *place*."""
    packed = json.dumps([place.after, place.skip, place.seen], separators=(",", ":"))
    return base64.urlsafe_b64encode(packed.encode()).decode().rstrip("=")
