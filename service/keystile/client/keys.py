"""Where the API key comes from: an argument, a file, or the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from keystile.client.errors import NoKeyError

VARIABLE = "KEYSTILE_API_KEY"
_KEY = re.compile(r"[A-Za-z0-9_-]{1,72}", re.ASCII)
_MAX_FILE = 1_024  # bytes


class ApiKey:
    """An API key; `reveal` is the only way to its text."""

    __slots__ = ("_text",)

    def __init__(self, text: str, refusal: str = "what was given is no API key") -> None:
        """Raise a `NoKeyError` for what cannot be a key: it could say anything in a header."""
        if not _KEY.fullmatch(text):
            raise NoKeyError(refusal)
        self._text = text

    def reveal(self) -> str:
        """Return the key itself."""
        return self._text

    def hidden_from(self, text: str) -> str:
        """Return *text* without the key, wherever it stands in it."""
        return text.replace(self._text, "…")


KeySource = Callable[[], ApiKey]


def key_source(text: str | None = None, file: str | os.PathLike[str] | None = None) -> KeySource:
    """Return what gives the key: *text*, else that in *file*, else that in `KEYSTILE_API_KEY`.

    A file is read again for each exchange, so that a key that was rotated needs no restart. Raises a `NoKeyError` now
    rather than at the first request.
    """
    if text is None and file is not None:
        path = Path(file)
        _read(path)
        return lambda: _read(path)
    found = os.environ.get(VARIABLE, "") if text is None else text
    if not found.strip():
        raise NoKeyError(f"there is no API key: name one, a file that holds it, or set {VARIABLE}")
    key = ApiKey(found.strip())
    return lambda: key


def _read(path: Path) -> ApiKey:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE).decode("ascii", "replace")
    except OSError as error:
        raise NoKeyError(f"{path} cannot be read: {error.strerror}") from None
    return ApiKey(text.strip(), f"{path} holds no API key")
