"""Which headers are a trusted proxy's word, and which are nobody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.http.addresses import Client
from keystile.http.forwarding import Forwarding
from keystile.network import Facts

if TYPE_CHECKING:
    from keystile.http.asgi import Scope

NAMED = Client("203.0.113.9", behind=True, named=True)
NOTHING = Facts()
texts = st.text(st.characters(codec="latin-1"), max_size=12)


def scope(*headers: tuple[str, str], method: str = "GET", raw_path: str | None = "/sts/verify") -> Scope:
    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return {"method": method, "raw_path": raw_path and raw_path.encode("latin-1"), "headers": encoded}


def facts(convention: str, request: Scope, client: Client = NAMED) -> Facts:
    return Forwarding(convention, "/sts/verify").facts(request, client)


def endpoint(convention: str, request: Scope) -> tuple[str | None, str | None]:
    found = facts(convention, request)
    return found.method, found.path


ALL = [
    ("X-Forwarded-Method", "PUT"),
    ("X-Forwarded-Uri", "/forwarded?a=b"),
    ("X-Original-Method", "PATCH"),
    ("X-Original-URI", "/original"),
]


@pytest.mark.parametrize(
    ("convention", "expected"),
    [
        ("x-forwarded", ("PUT", "/forwarded?a=b")),
        ("x-original", ("PATCH", "/original")),
        ("path", ("DELETE", "/below/%2e%2e//a;b")),
    ],
)
def test_one_convention_is_believed(convention: str, expected: tuple[str, str]) -> None:
    """A proxy overwrites what it knows; the headers of other conventions may be the client's own."""
    request = scope(*ALL, method="DELETE", raw_path="/sts/verify/below/%2e%2e//a;b")
    assert endpoint(convention, request) == expected


@pytest.mark.parametrize("convention", ["x-forwarded", "x-original"])
def test_without_its_headers_nothing_is_known(convention: str) -> None:
    """The method and path by which the proxy asks are not the client's."""
    request = scope(method="GET", raw_path="/sts/verify/v1/models")
    assert endpoint(convention, request) == (None, None)


@pytest.mark.parametrize("raw_path", [None, "", "/sts/verify", "/sts/verifyx/a", "/sts/%76erify/a", "/sts/token"])
def test_path_that_is_not_below_the_door_is_unknown(raw_path: str | None) -> None:
    """With `path` only what follows the door's own path, as it was sent, is the client's."""
    assert endpoint("path", scope(raw_path=raw_path))[1] is None


def test_root_below_the_door_is_the_root() -> None:
    """A client that asked for `/` asked for something."""
    assert endpoint("path", scope(raw_path="/sts/verify/")) == ("GET", "/")


@pytest.mark.parametrize("name", ["X-Forwarded-Method", "X-Forwarded-Uri", "X-Forwarded-Proto", "Origin"])
@pytest.mark.parametrize("second", ["same", "other", "empty"])
def test_header_that_comes_twice_says_nothing(name: str, second: str) -> None:
    """A client's header beside the proxy's is no choice for us, even if both are the same."""
    good = {
        "X-Forwarded-Method": "GET",
        "X-Forwarded-Uri": "/a",
        "X-Forwarded-Proto": "https",
        "Origin": "https://a.example",
    }
    whole = Facts(address="203.0.113.9", origin="https://a.example", tls=True, method="GET", path="/a")
    assert facts("x-forwarded", scope(*good.items())) == whole
    more = {"same": good[name], "other": "http", "empty": ""}[second]
    found = facts("x-forwarded", scope(*good.items(), (name, more)))
    fields = {"X-Forwarded-Method": "method", "X-Forwarded-Uri": "path", "X-Forwarded-Proto": "tls", "Origin": "origin"}
    different = {each for each in fields.values() if getattr(found, each) != getattr(whole, each)}
    assert (different, getattr(found, fields[name])) == ({fields[name]}, None)


@pytest.mark.parametrize(
    ("value", "tls"),
    [
        ("https", True),
        (" HTTPS ", True),
        ("wss", True),
        ("http", False),
        ("ws", False),
        ("https,http", None),
        ("https, https", None),
        ("", None),
        ("on", None),
        ("ftp", None),
    ],
)
def test_tls_is_one_clear_word(value: str, tls: bool | None) -> None:  # noqa: FBT001 - the expectation
    """Two words in one header are two proxies' words, and they may contradict each other."""
    assert facts("x-forwarded", scope(("X-Forwarded-Proto", value))).tls is tls


@pytest.mark.parametrize("value", ["", " ", "GET,POST", "GET POST", "G\u00c9T", "GET\n", "A" * 33])
def test_what_is_no_method_is_unknown(value: str) -> None:
    """A method is one token."""
    assert facts("x-forwarded", scope(("X-Forwarded-Method", value))).method is None


def test_address_is_only_one_that_was_named() -> None:
    """The gateway's own address is never the client's."""
    assert facts("x-forwarded", scope(), Client("10.0.0.1", behind=True)) == NOTHING
    assert facts("x-forwarded", scope(), NAMED) == Facts(address="203.0.113.9")


@given(
    convention=st.sampled_from(["x-forwarded", "x-original", "path"]),
    headers=st.lists(st.tuples(st.sampled_from([name for name, _ in ALL] + ["Origin", "X-Forwarded-Proto"]), texts)),
    raw_path=texts,
)
def test_any_headers_make_facts(convention: str, headers: list[tuple[str, str]], raw_path: str) -> None:
    """Whatever a proxy or client sends, there are facts or none, and never an error."""
    assert facts(convention, scope(*headers, raw_path=f"/sts/verify/{raw_path}")).address == "203.0.113.9"
