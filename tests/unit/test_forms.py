from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.errors import RequestError
from keystile.http.asgi import MAX_BODY, Scope, header, headers, read_body
from keystile.http.forms import Form, parse_form

FORM = b"application/x-www-form-urlencoded"
texts = st.text(st.characters(codec="utf-8"), max_size=20)


def scope(query: bytes = b"", content_type: bytes | None = FORM) -> Scope:
    given = [] if content_type is None else [(b"content-type", content_type)]
    return {"type": "http", "method": "POST", "path": "/", "query_string": query, "headers": given}


@given(fields=st.dictionaries(texts, texts, max_size=10))
def test_form_is_read_as_it_was_encoded(fields: dict[str, str]) -> None:
    """Every parameter comes back as it was, and an empty one counts as absent."""
    form = parse_form(scope(), urlencode(fields).encode())
    assert {name: form.one(name) for name in fields} == {name: value or None for name, value in fields.items()}


@given(body=st.binary(max_size=200) | st.text("&=%+;abF0\u00e9", max_size=60).map(str.encode))
def test_any_body_is_a_form_or_an_invalid_request(body: bytes) -> None:
    """No body makes reading fail in another way."""
    try:
        form = parse_form(scope(), body)
    except RequestError as refused:
        answer = (refused.error, refused.status)
    else:
        answer = ("invalid_request", 400) if isinstance(form, Form) else ("", 0)
    assert answer == ("invalid_request", 400)


@given(query=st.binary(max_size=100), content_type=st.none() | st.binary(max_size=40))
def test_any_query_and_content_type_are_read_or_refused(query: bytes, content_type: bytes | None) -> None:
    """Neither query nor content type makes reading fail in another way."""
    try:
        form = parse_form(scope(query, content_type), b"a=b")
    except RequestError as refused:
        assert str(refused).startswith("invalid_request: ")  # noqa: PT017 - one of two good ends
    else:
        assert form.one("a") == "b"


@given(name=texts.filter(bool), values=st.lists(texts, min_size=2, max_size=4))
def test_repeated_parameter_is_refused_unless_empty(name: str, values: list[str]) -> None:
    """A parameter may be given once; `resource` and `audience` may repeat, and give each value once."""
    fields = [(name, value) for value in values]
    full = [value for value in values if value]
    if len(full) > 1 and name not in ("resource", "audience"):
        with pytest.raises(RequestError):
            Form(fields)
    else:
        assert Form(fields).every(name) == tuple(dict.fromkeys(full))


def test_parameters_of_two_names_are_one_list() -> None:
    """`resource` and `audience` ask for the same thing: two different ones are two."""
    form = Form([("resource", "a"), ("audience", "b"), ("audience", "a")])
    assert form.every("resource", "audience") == ("a", "b")
    assert form.one("scope") is None


@given(name=texts, value=texts)
def test_refused_form_does_not_repeat_what_it_held(name: str, value: str) -> None:
    """An error never shows a parameter: it might be a key."""
    marked = f"secret-{value}"
    with pytest.raises(RequestError) as refused:
        Form([("scope", "a"), ("scope", "b"), (name, marked)])
    assert marked not in str(refused.value)


@given(sizes=st.lists(st.integers(0, 6_000), max_size=6))
async def test_body_is_read_up_to_its_bound(sizes: list[int]) -> None:
    """However a body is cut into pieces, 16 KB of it are read, and more is a 413."""
    pieces = [b"x" * size for size in sizes] or [b""]
    left = list(pieces)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    if sum(sizes) > MAX_BODY:
        with pytest.raises(RequestError) as refused:
            await read_body(scope(), receive)
        assert refused.value.status == 413
    else:
        assert await read_body(scope(), receive) == b"".join(pieces)


async def test_body_announced_too_large_is_not_read() -> None:
    """A client that announces more than 16 KB is refused before it sends any of it."""

    async def receive() -> dict[str, object]:
        pytest.fail("the body was read")

    announced = {**scope(), "headers": [(b"content-length", b"16385")]}
    with pytest.raises(RequestError) as refused:
        await read_body(announced, receive)
    assert refused.value.status == 413


def test_headers_are_found_by_name() -> None:
    """The first value, or all of them in order."""
    given = {"headers": [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]}
    assert (header(given, b"a"), header(given, b"c")) == (b"1", None)
    assert headers(given, b"a") == [b"1", b"3"]
