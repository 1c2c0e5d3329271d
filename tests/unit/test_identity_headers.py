from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.http.verify_door import encode_identity

ALLOWED = {chr(code) for code in (*range(0x21, 0x25), *range(0x26, 0x7F))} | {"%"}
texts = st.text(st.characters(codec="utf-8"), max_size=60)


@given(value=texts)
def test_identity_header_decodes_back(value: str) -> None:
    """Whoever decodes a header gets the value; nothing is lost, and `-` alone means nothing."""
    encoded = encode_identity(value)
    assert encoded == "-" if value == "" else unquote(encoded, errors="strict") == value


@given(value=texts)
def test_identity_header_is_never_empty_and_always_printable(value: str) -> None:
    """No value can make a header empty, end it, or begin another."""
    encoded = encode_identity(value)
    assert encoded
    assert set(encoded) <= ALLOWED


@given(one=texts, other=texts)
def test_two_values_never_look_alike(one: str, other: str) -> None:
    """No value can pass for another, nor for none at all."""
    assert (encode_identity(one) == encode_identity(other)) == (one == other)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ("", "-"),
        ("-", "%2D"),
        ("--", "--"),
        ("alice", "alice"),
        ("a b", "a%20b"),
        ("50%", "50%25"),
        ("%2D", "%252D"),
        ("a\r\nX-Admin: 1", "a%0D%0AX-Admin:%201"),
        ("zoë", "zo%C3%AB"),
        ("~!*'()/;,\"", "~!*'()/;,\""),
        ("\x7f\x00\t", "%7F%00%09"),
    ],
)
def test_encoding_by_example(value: str, encoded: str) -> None:
    """Only what a header may not carry is encoded."""
    assert encode_identity(value) == encoded
