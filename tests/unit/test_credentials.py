from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.errors import RequestError
from keystile.http.credentials import UNREADABLE, Credential, credential_of, parse_basic

if TYPE_CHECKING:
    from keystile.http.asgi import Scope

plain = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="%+"), max_size=70)
names = st.sampled_from(["authorization", "x-api-key", "cookie"])
ids = plain.map(lambda text: text.replace(":", ""))


def scope(*headers: tuple[str, str]) -> Scope:
    return {"headers": [(name.encode(), value.encode("latin-1")) for name, value in headers]}


def encoded(client_id: str, secret: str) -> str:
    return base64.b64encode(f"{client_id}:{secret}".encode()).decode()


@given(client_id=ids, secret=plain)
def test_basic_is_read_raw_and_percent_encoded(client_id: str, secret: str) -> None:
    """Both ways of writing Basic credentials give the same two texts."""
    expected = Credential(secret, "basic", client_id)
    assert parse_basic(encoded(client_id, secret)) == expected
    assert parse_basic(encoded(quote_plus(client_id), quote_plus(secret))) == expected


@given(text=st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: base64.b64encode(raw).decode()))
def test_any_text_is_basic_or_unreadable(text: str) -> None:
    """No text makes reading fail; what nobody can read is a credential all the same, and a wrong one."""
    credential = parse_basic(text)
    assert credential.by == "basic"
    assert credential is UNREADABLE or credential.client_id is not None


@pytest.mark.parametrize("text", ["", "YQ==", "=", "a", "YTpi\n", "YTpi YTpi", "w6k6YQ=="])
def test_basic_nobody_can_read(text: str) -> None:
    """Without a colon, with other letters or with bytes that are no text there is no client and no secret."""
    assert parse_basic(text) is UNREADABLE


@given(values=st.lists(st.tuples(names, st.text("Bearbsic :=%\u00e9", max_size=20))))
def test_any_headers_are_one_credential_none_or_a_refusal(values: list[tuple[str, str]]) -> None:
    """No headers make reading fail in another way, and two different credentials never give one."""
    try:
        credential = credential_of(scope(*values))
    except RequestError:
        return
    keys = {value.strip() for name, value in values if name == "x-api-key"}
    assert len(keys) <= 1
    assert credential is None or not keys or credential.text in keys


def test_credential_says_how_it_came() -> None:
    """The way and the named client are kept, the key is taken as it is."""
    assert credential_of(scope()) is None
    assert credential_of(scope(("authorization", "Bearer  k "))) == Credential("k", "bearer")
    assert credential_of(scope(("x-api-key", " k "))) == Credential("k", "x-api-key")
    assert credential_of(scope(("authorization", f"basic {encoded('i', 'k')}"))) == Credential("k", "basic", "i")
    assert credential_of(scope(("authorization", "Bearer"))) == Credential("", "bearer")


def test_same_key_twice_is_one_credential() -> None:
    """A gateway may add the header a client sent already; the one that names a client counts."""
    both = scope(("x-api-key", "k"), ("x-api-key", "k"), ("authorization", f"Basic {encoded('i', 'k')}"))
    assert credential_of(both) == Credential("k", "basic", "i")


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", "Bearer a"), ("authorization", "Bearer a")],
        [("authorization", "Bearer a"), ("authorization", "")],
        [("authorization", "Bearer a"), ("x-api-key", "b")],
        [("authorization", "Bearer a"), ("x-api-key", "")],
        [("x-api-key", "a"), ("x-api-key", "b")],
    ],
)
def test_two_credentials_are_refused(headers: list[tuple[str, str]]) -> None:
    """Two `Authorization` headers or two different keys are an invalid request, never a pick."""
    with pytest.raises(RequestError) as refused:
        credential_of(scope(*headers))
    assert refused.value.error == "invalid_request"
