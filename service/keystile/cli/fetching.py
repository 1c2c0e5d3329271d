"""Fetching a JSON object over HTTP, bounded, from the very address that was named."""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from keystile.errors import CannotTellError

_PATIENCE = 5.0  # seconds
_MOST = 65_536  # bytes


class Stay(HTTPRedirectHandler):
    """Follows nowhere: what was asked is for the server that was named."""

    def redirect_request(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - urllib's
        """Refuse."""
        return


def fetch_json(url: str, *, direct: bool = False) -> dict[str, Any]:
    """Return the JSON object at *url*; *direct* asks no proxy that the environment names.

    Raises `CannotTellError`, which says what was there instead.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise CannotTellError("is no http or https URL")
    asked = Request(url, headers={"Accept": "application/json"})  # noqa: S310 - checked
    handlers = [Stay(), ProxyHandler({})] if direct else [Stay()]
    try:
        with build_opener(*handlers).open(asked, timeout=_PATIENCE) as answer:
            read = json.loads(answer.read(_MOST))
    except HTTPError as error:
        error.close()
        raise CannotTellError(f"answers {error.code}") from error
    except (URLError, OSError, HTTPException) as error:
        raise CannotTellError(f"does not answer: {getattr(error, 'reason', error)}") from error
    except ValueError as error:
        raise CannotTellError("answers no JSON") from error
    if not isinstance(read, dict):
        raise CannotTellError("answers no JSON object")
    return read
