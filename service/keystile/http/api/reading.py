"""Reading a request of the API in one way only, and refusing credentials wherever they would be kept or repeated."""

from __future__ import annotations

import hmac
import json
import math
import re
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from keystile.errors import RequestError
from keystile.keys import holds_credential, without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from keystile.http.asgi import Scope
    from keystile.settings import Settings

_AreSecret = tuple[Callable[[str], bool], Callable[[str], bool]]
"""Whether a field's name, and whether its value, is what must not be kept."""
_MAX_DEPTH = 8
_MAX_ID = 255
_MAX_FIELD = 200
_MOST = 2**53 - 1  # what every reader of JSON can count to
# What is decoded before it is routed: to a proxy that guards a path, `/keys/x%2Frevoke` is another one than to us.
_DOUBTFUL_PATH = re.compile(rb"//|\\|%2f|%5c", re.IGNORECASE)
_HEADER = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_A_CREDENTIAL = "holds what looks like a credential: a key is named by its id"


class FieldsError(Exception):
    """What a client sent cannot be taken; *faults* are pairs of a field's name and what is wrong with it."""

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults


class Credentials:
    """Knows what must not be kept: keys of any deployment, JWTs, and the bootstrap *admin_key* of this one."""

    def __init__(self, admin_key: str | None) -> None:
        self._admin_key = (admin_key or secrets.token_hex()).encode()

    @classmethod
    def of(cls, settings: Settings) -> Credentials:
        """Return what knows the bootstrap admin key of a deployment with these settings."""
        return cls(settings.admin_key.get_secret_value() if settings.admin_key else None)

    def stand_in(self, text: str) -> bool:
        """Tell whether one stands in *text*."""
        # Compared whole and in constant time: whoever may ask here must not find it out letter by letter.
        presented = text.strip().encode(errors="surrogatepass")
        return hmac.compare_digest(presented, self._admin_key) or holds_credential(text)

    def hide(self, text: str) -> str:
        """Return *text*, which is counted and audited, without those that stand in it."""
        return without_credentials(text).replace(self._admin_key.decode(), "(secret)")


def read_path(scope: Scope, params: Mapping[str, str], credentials: Credentials) -> Mapping[str, str]:
    """Return *params*, or raise a `RequestError`: what is no id names nothing."""
    if _DOUBTFUL_PATH.search(scope.get("raw_path") or b""):
        raise RequestError("not_found", "a path has no encoded or doubled slashes", status=404)
    for text in params.values():
        if credentials.stand_in(text):
            raise RequestError("not_found", "the path " + _A_CREDENTIAL, status=404)
        if len(text) > _MAX_ID or not text.isprintable():
            raise RequestError("not_found", "this is nobody's id or name", status=404)
    return params


def read_headers(sent: Mapping[str, Sequence[str]], credentials: Credentials) -> dict[str, str]:
    """Return the headers that the operation reads, each one text of visible characters."""
    found = {}
    for name, values in sent.items():
        text = ", ".join(values).strip()
        if not _HEADER.fullmatch(text) or len(text) > _MAX_ID:
            raise RequestError("invalid_request", f"{name} is 1 to {_MAX_ID} visible ASCII characters")
        if credentials.stand_in(text):
            raise RequestError("invalid_request", f"{name} {_A_CREDENTIAL}")
        found[name.lower()] = text
    return found


def read_query(sent: Iterable[tuple[str, str]], credentials: Credentials) -> dict[str, str]:
    """Return the parameters; raises `FieldsError`, or `RequestError` if one stands twice."""
    pairs = list(sent)
    for name, value in pairs:
        _raise_if(_faults({name: value}, "", (credentials.stand_in, credentials.stand_in), 0))
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise RequestError("invalid_request", f"{name[:_MAX_FIELD]} is repeated")
    return dict(pairs)


def read_json(content_types: Sequence[str], sent: bytes, credentials: Credentials, *, takes_keys: bool) -> Any:  # noqa: ANN401 - what a client sent
    """Return the document; *takes_keys*: its values, not its names, may be keys. Raises as `read_query` does."""
    if not sent and not content_types:
        return {}
    media_types = [text.partition(";")[0].strip().lower() for text in content_types]
    if media_types != ["application/json"]:
        raise RequestError("invalid_request", "the body is JSON, and says so in Content-Type", status=415)
    try:
        document = json.loads(
            sent.decode("utf-8"), parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_each_once
        )
    except (ValueError, RecursionError) as error:
        raise RequestError("invalid_request", "the body is not JSON") from error
    in_names = credentials.stand_in
    _raise_if(_faults(document, "", (in_names, _nowhere if takes_keys else in_names), 0))
    return document


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)  # NaN and Infinity: no JSON


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number beyond all others")
    return number


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):  # one reader takes the first, the next one the last
        raise RequestError("invalid_request", "a field stands twice in one object")
    return fields


def _raise_if(faults: Iterator[tuple[str, str]]) -> None:
    first = next(faults, None)
    if first is not None:
        raise FieldsError([first])


def _nowhere(_text: str) -> bool:
    return False


def _faults(value: Any, place: str, are_secret: _AreSecret, depth: int) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - JSON
    """Yield what no field may hold: half characters, credentials, numbers and depths that not everybody reads."""
    in_names, in_values = are_secret
    if depth > _MAX_DEPTH:
        yield place, f"is nested deeper than {_MAX_DEPTH} levels"
    elif isinstance(value, str):
        yield from ((place, what) for what in _text_faults(value, in_values))
    elif isinstance(value, int | float):
        if not -_MOST <= value <= _MOST:
            yield place, f"is a number beyond {_MOST}"
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from ((place or "body", f"has a field whose name {what}") for what in _text_faults(name, in_names))
            yield from _faults(each, f"{place}.{name}" if place else name, are_secret, depth + 1)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _faults(each, f"{place}.{number}" if place else str(number), are_secret, depth + 1)


def _text_faults(text: str, is_secret: Callable[[str], bool]) -> Iterator[str]:
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        yield "has half a character in it"
    if is_secret(text):
        yield _A_CREDENTIAL
