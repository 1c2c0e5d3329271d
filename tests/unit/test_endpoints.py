"""Endpoint patterns: what they mean, and that no spelling of a path gets round them."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote, unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keystile.endpoints import endpoints_allow, parse_endpoint, read_path


def allows(pattern: str, method: str, target: str) -> bool:
    return endpoints_allow([pattern], [], method, target)


def blocks(pattern: str, method: str, target: str) -> bool:
    return not endpoints_allow([], [pattern], method, target)


@pytest.mark.parametrize(
    ("pattern", "request_line"),
    [
        ("GET /v1/models", "GET /v1/models"),
        ("GET /v1/models", "GET /v1/models?limit=1&x=../..//;%2e"),
        ("GET /v1/models", "GET /v1/%6dodels"),
        ("* /v1/models", "PURGE /v1/models"),
        ("GET,POST /v1/models", "POST /v1/models"),
        ("M-SEARCH /v1/models", "M-SEARCH /v1/models"),
        ("GET /", "GET /"),
        ("GET /admin/*", "GET /admin/users"),
        ("GET /*/users", "GET /a%20b/users"),
        ("GET /v1/models:list", "GET /v1/models:list"),
        ("GET /caf%C3%A9", "GET /caf%c3%a9"),
        ("GET /files/**", "GET /files"),
        ("GET /files/**", "GET /files/"),
        ("GET /files/**", "GET /files/a"),
        ("GET /files/*/b/**", "GET /files/a/b/c/d/"),
        ("GET /files/", "GET /files/"),
        ("* /**", "GET /"),
        ("* /**", "DELETE /a/b"),
        ("GET /%2A", "GET /*"),
    ],
)
def test_pattern_allows_and_blocks_what_it_names(pattern: str, request_line: str) -> None:
    """A star is one segment, two are any rest, the query never counts, and escapes of plain letters are the letters."""
    method, _, target = request_line.partition(" ")
    assert allows(pattern, method, target)
    assert blocks(pattern, method, target)


@pytest.mark.parametrize(
    ("pattern", "request_line"),
    [
        ("GET /v1/models", "POST /v1/models"),
        ("GET /v1/models", "GET /v1/models/a"),
        ("GET /v1/models", "GET /v1"),
        ("GET /v1/models", "GET /v1/modelsx"),
        ("GET /v1/models", "GET /v2/models"),
        ("GET /admin/*", "GET /admin"),
        ("GET /admin/*", "GET /admin/"),
        ("GET /admin/*", "GET /admin/a/b"),
        ("GET /files/**", "GET /filesystem"),
        ("GET /files/**", "GET /"),
        ("GET /%2A", "GET /a"),
    ],
)
def test_pattern_neither_allows_nor_blocks_the_rest(pattern: str, request_line: str) -> None:
    """Another method, more or fewer segments, or another word is another endpoint."""
    method, _, target = request_line.partition(" ")
    assert not allows(pattern, method, target)
    assert not blocks(pattern, method, target)


@pytest.mark.parametrize(
    "request_line",
    [
        "GET /ADMIN/users",
        "get /admin/users",
        "GET /Admin/users/",
        "HEAD /admin/users",
        "GET /%61DMIN/users",
        "GET /%EF%BD%81dmin/users",  # a full-width a
        "GET /admin/u%C5%BFers",  # a long s
    ],
)
def test_in_doubt_a_block_is_wide_and_an_allowance_narrow(request_line: str) -> None:
    """Case, a trailing slash, compatible letters and HEAD reach the same with some servers: blocked, not allowed."""
    method, _, target = request_line.partition(" ")
    assert blocks("GET /admin/users", method, target)
    assert not allows("GET /admin/users", method, target)


@pytest.mark.parametrize(
    "target",
    [
        "",
        "*",
        "files",
        "http://api.example.com/files",
        "//files",
        "/files//a",
        "/files//",
        "/files/./a",
        "/files/../a",
        "/files/..",
        "/files/.../a",
        "/files/%2e%2E/a",
        "/files/a%2ejson",
        "/files/%2Fa",
        "/files/%252e%252e/a",
        "/files/a;b",
        "/files/a%3bb",
        "/files/a\\b",
        "/files/a%5Cb",
        "/files/a%00",
        "/files/a%0d%0a",
        "/files/a%7f",
        "/files/a\tb",
        "/files/a b",
        "/files/a#b",
        "/files/a%23b",
        "/files/a%3fb",
        "/files/a%",
        "/files/a%4",
        "/files/a%zz",
        "/files/%c0%ae%c0%ae/a",
        "/files/%E9",
        "/files/\u00e9",
        "/files/a.",
        "/files/a%20",
        "/files/%20a",
        "/files/a%E2%80%8B",
        "/files/%EF%BC%8E%EF%BC%8E/a",
        "/files/%EF%BC%8Fa",
        "/files/%E2%80%A5/a",
        "/files/" + "a" * 4_096,
    ],
)
def test_what_can_be_read_in_two_ways_is_allowed_by_nothing_and_blocked_by_everything(target: str) -> None:
    """Dots, escaped separators, parameters, empty segments, broken or double escapes: no guess what a server does."""
    assert read_path(target) is None
    assert not allows("* /**", "GET", target)
    assert blocks("POST /something/else", "GET", target)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "/v1/models",
        "GET",
        "GET ",
        "GET  /a",
        "get /a",
        "GET, POST /a",
        "GET,*  /a",
        "*,GET /a",
        "GET,, /a",
        "GET a",
        "GET *",
        "GET **",
        "GET /a*",
        "GET /**/a",
        "GET /a/***",
        "GET //a",
        "GET /a//**",
        "GET /a/../b",
        "GET /a/./**",
        "GET /a?b",
        "GET /a?/**",
        "GET /a;b",
        "GET /a%2fb",
        "GET /a b",
        "GET /caf\u00e9",
        "GET /%2e%2e/**",
        "GET /a\n",
    ],
)
def test_pattern_that_nobody_could_enforce_is_an_error(pattern: str) -> None:
    """A pattern is methods in capitals and a plain absolute path; a stored one that is not blocks all."""
    with pytest.raises(ValueError, match=r"begins with|stands for|absolute and plain"):
        parse_endpoint(pattern)
    assert not allows(pattern, "GET", "/a")
    assert blocks(pattern, "GET", "/a")


def test_a_block_counts_more_than_an_allowance() -> None:
    """Of patterns that disagree the blocked one wins; with blocked ones alone the rest is open."""
    allowed, blocked = ["* /files/**"], ["DELETE /files/**", "* /files/secret"]
    assert endpoints_allow(allowed, blocked, "GET", "/files/a")
    assert not endpoints_allow(allowed, blocked, "DELETE", "/files/a")
    assert not endpoints_allow(allowed, blocked, "GET", "/files/secret")
    assert not endpoints_allow(allowed, blocked, "GET", "/other")
    assert endpoints_allow([], blocked, "GET", "/other")


# A server that reads a path as generously as any of those in use, all habits at once.
def generous(target: str) -> list[str]:
    path = target.partition("?")[0].partition("#")[0]
    for _ in range(5):
        path = unquote(path)
    path = unicodedata.normalize("NFKC", path).replace("\\", "/").partition("\x00")[0]
    read: list[str] = []
    for written in path.split("/"):
        segment = written.partition(";")[0].strip()
        if segment == "..":
            read[-1:] = []
        elif segment.strip(".") and segment not in ("", "."):
            read.append(segment.rstrip(". "))
    return read


letters = st.sampled_from("admin")
tricks = st.sampled_from(
    [
        *(
            "/",
            "//",
            "\\",
            "%2f",
            "%5C",
            "%252f",
            ".",
            "..",
            "/./",
            "/../",
            "%2e",
            "%2E%2e",
            "%252e",
            ";",
            ";x=1",
            "%3b",
        ),
        *("%00", "%20", " ", "%", "%4", "%c0%ae", "%ef%bc%8e", "%ef%bc%8f", "#", "?", "%3f", "x", "files", "admin"),
        *("ADMIN", "%61dmin", "%2561dmin", "/admin", "/files/", "users", "/users", "\u00e9", "%E9", "\uff41", "~", ":"),
    ]
)


def spelled(word: str) -> st.SearchStrategy[str]:
    """Return spellings of a word: each letter in either case, plain or escaped once or twice."""

    def spell(letter: str) -> st.SearchStrategy[str]:
        either = [letter, letter.upper()]
        once = [f"%{ord(each):02x}" for each in either]
        return st.sampled_from([*either, *once, *(each.replace("%", "%25") for each in once)])

    return st.tuples(*map(spell, word)).map("".join)


targets = st.builds(
    lambda start, parts: start + "".join(parts),
    st.sampled_from(["/", "//", "", "/files/", "/admin/", "/x/../"]),
    st.lists(tricks | letters | spelled("admin") | spelled("files"), max_size=6),
)


@settings(max_examples=1_000)
@given(target=targets, method=st.sampled_from(["GET", "get", "HEAD"]))
@example(target="/x/..%2fadmin", method="GET")
@example(target="/%2561dmin", method="GET")
@example(target="/files/;/../admin", method="GET")
def test_no_spelling_escapes_a_block(target: str, method: str) -> None:
    """Whatever the most generous server would take for the blocked path is blocked."""
    read = [segment.casefold() for segment in generous(target)]
    if read[:1] == ["admin"]:
        assert blocks("GET /admin/**", method, target)
        assert blocks("* /ADMIN/**", method, target)
    if read == ["admin"]:
        assert blocks("GET /admin", method, target)


@settings(max_examples=1_000)
@given(target=targets)
@example(target="/files/../admin")
@example(target="/files/%2e%2e/admin")
@example(target="/files\\..\\admin")
def test_no_spelling_enters_an_allowance(target: str) -> None:
    """Whatever is let through is the allowed path to every server, the most generous and the plainest."""
    if allows("GET /files/**", "GET", target):
        assert generous(target)[:1] == ["files"]
        assert unquote(target).split("?")[0].split("/")[1] == "files"
    if allows("GET /files/*", "GET", target):
        assert len(generous(target)) == 2


@given(target=st.text(max_size=30) | st.text("/.%2eEfF5cC;a\\", max_size=12).map(lambda text: "/" + text))
def test_what_is_read_is_what_everybody_reads(target: str) -> None:
    """A path that is read at all gives the same segments to the plainest and to the most generous server."""
    read = read_path(target)
    if read is not None:
        assert list(read) == unquote(target.partition("?")[0]).split("/")[1:]
        assert [unicodedata.normalize("NFKC", segment) for segment in read if segment] == generous(target)


@given(
    words=st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), min_size=1, max_size=4),
)
def test_ordinary_names_are_read_as_they_are(words: list[str]) -> None:
    """An escaped name without separators, dots at its end or odd characters comes out as it went in."""
    harmless = [re.sub(r"[^\w -]", "", word).strip() for word in words]
    names = [unicodedata.normalize("NFKC", name) for name in harmless]
    if all(name.isprintable() and name == name.strip() and name and "/" not in name for name in names):
        assert read_path("/" + "/".join(quote(name, safe="") for name in names)) == tuple(names)
