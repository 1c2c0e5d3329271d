from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.claims import MAX_URI, parse_resource
from keystile.errors import RequestError
from keystile.policy import audience_is_allowed, may_be_listed
from unit.builders import DEFAULT_AUDIENCE, rules

MCP = "https://mcp.example.com/mcp"
REALM = "https://id.example.com/realms/r"


def test_default_audience_is_always_allowed() -> None:
    """A key with an empty list may ask for the default audience by name, whatever the deployment lists."""
    assert audience_is_allowed(DEFAULT_AUDIENCE, (), rules())
    assert audience_is_allowed(DEFAULT_AUDIENCE, (), rules(audiences=frozenset({MCP})))


def test_only_listed_audiences_are_allowed() -> None:
    """Other audiences must be on the key's list, byte for byte."""
    assert audience_is_allowed(MCP, (MCP,), rules())
    for other in (MCP + "/", MCP.upper(), MCP[:-1], "https://mcp.example.com:443/mcp", ""):
        assert not audience_is_allowed(other, (MCP,), rules())


def test_deployment_limits_what_a_list_may_hold() -> None:
    """An audience on the key's list that the deployment does not name counts no more."""
    assert not audience_is_allowed(MCP, (MCP,), rules(audiences=frozenset({"https://other.example.com"})))
    assert audience_is_allowed(MCP, (MCP,), rules(audiences=frozenset({MCP})))


@given(below=st.text("abc/.?#%", max_size=10))
def test_realm_and_every_url_below_it_are_never_allowed(below: str) -> None:
    """A JWT that the realm itself would take is never made, even if key and deployment list it."""
    for audience in (REALM, f"{REALM}/{below}"):
        ruled = rules(forbidden_audiences=(REALM,), audiences=frozenset({audience}))
        assert not may_be_listed(audience, ruled)
        assert not audience_is_allowed(audience, (audience,), ruled)


@pytest.mark.parametrize("audience", [f"{REALM}?", f"{REALM}?x=1", f"{REALM}/?x", f"{REALM}/"])
def test_realm_with_a_query_is_never_allowed(audience: str) -> None:
    """Nor is the realm's URL with a query, which a careless comparison would cut off."""
    assert not may_be_listed(audience, rules(forbidden_audiences=(REALM,)))


@pytest.mark.parametrize("audience", [REALM + "2", "https://id.example.com/realms", "https://id.example.com/realms/s"])
def test_neighbours_of_the_realm_are_allowed(audience: str) -> None:
    """Another realm, or a path that only begins alike, is somebody else's."""
    assert may_be_listed(audience, rules(forbidden_audiences=(REALM,)))


@pytest.mark.parametrize(
    "uri",
    [
        MCP,
        "HTTPS://MCP.example.com:443/A/../b?x=1&y=%20",
        "urn:example:service",
        "https://[2001:db8::1]/mcp",
        "mcp+stdio://tool",
        "https://example.com/" + "a" * (MAX_URI - 20),
    ],
)
def test_resource_is_kept_byte_for_byte(uri: str) -> None:
    """What the client sent is what the JWT will say: nothing is normalised."""
    assert parse_resource(uri) is uri


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "mcp",
        "/mcp",
        "//mcp.example.com",
        "mcp.example.com/mcp",
        "https://",
        "https:",
        f"{MCP}#",
        f"{MCP}#fragment",
        f"{MCP} ",
        f" {MCP}",
        f"{MCP}\n",
        f"{MCP}\0",
        'https://example.com/"',
        "https://example.com/<script>",
        "https://exämple.com",
        "https://example.com/\ud800",
        "https://[::1",
        "1https://example.com",
        "https://example.com/" + "a" * MAX_URI,
    ],
)
def test_what_is_no_absolute_uri_is_an_invalid_target(uri: str) -> None:
    """A relative reference, a fragment, blanks or other letters are refused (RFC 8707, section 2)."""
    with pytest.raises(RequestError) as refused:
        parse_resource(uri)
    assert refused.value.error == "invalid_target"


@given(uri=st.text(st.characters(), max_size=60) | st.from_regex(r"[a-z]{1,5}:[/\[\]:#?a%@]{0,9}", fullmatch=True))
def test_any_text_is_a_resource_or_an_invalid_target(uri: str) -> None:
    """No text makes the check fail in another way, and what passes has no fragment."""
    try:
        read = parse_resource(uri)
    except RequestError:
        return
    assert read == uri
    assert "#" not in uri
    assert uri.isascii()
