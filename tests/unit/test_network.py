"""The network part of a policy: what is judged by which fact, and which policies nobody could enforce."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.errors import ChangeRefusedError, Reason
from keystile.network import MAX_ITEMS, Facts, check_policy, judge_request, parse_address
from keystile.restrictions import Policy

SAID = Facts(address="203.0.113.9", origin="https://app.example.com", tls=True, method="GET", path="/v1/models?a=b")
STRICT = Policy(
    allowed_ips=("203.0.113.0/24",),
    allowed_origins=("*.example.com",),
    require_tls=True,
    allowed_endpoints=("GET /v1/*",),
    blocked_endpoints=("* /v1/secret",),
)
NEEDS = {
    "address": Policy(allowed_ips=STRICT.allowed_ips),
    "origin": Policy(allowed_origins=STRICT.allowed_origins),
    "tls": Policy(require_tls=True),
    "method": Policy(blocked_endpoints=STRICT.blocked_endpoints),
    "path": Policy(allowed_endpoints=STRICT.allowed_endpoints),
}


def judge(policy: Policy = STRICT, *, at_gateway: bool = True, **said: Any) -> Reason | None:  # noqa: ANN401 - facts
    return judge_request(policy, replace(SAID, **said), at_gateway=at_gateway)


def address_reason(address: str, *networks: str) -> Reason | None:
    return judge(Policy(allowed_ips=networks), address=address)


def origin_reason(origin: str, *hosts: str) -> Reason | None:
    return judge(Policy(allowed_origins=hosts), origin=origin)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({}, None),
        ({"address": "198.51.100.1"}, Reason.ADDRESS_DENIED),
        ({"tls": False}, Reason.TLS_REQUIRED),
        ({"origin": "https://example.org"}, Reason.ORIGIN_DENIED),
        ({"method": "POST"}, Reason.ENDPOINT_DENIED),
        ({"path": "/v2/models"}, Reason.ENDPOINT_DENIED),
        ({"path": "/v1/secret"}, Reason.ENDPOINT_DENIED),
        ({"path": "/v1/../v1/models"}, Reason.ENDPOINT_DENIED),
    ],
    ids=str,
)
def test_each_fact_is_judged_by_its_field(said: dict[str, Any], reason: Reason | None) -> None:
    """One fact that does not fit refuses the key, for a reason of its own."""
    assert judge(**said) is reason


@pytest.mark.parametrize("fact", NEEDS)
def test_what_was_not_said_is_never_guessed(fact: str) -> None:
    """A key whose policy needs a fact is refused without it, and a key that does not need it is not."""
    unsaid: dict[str, Any] = {fact: None}
    assert judge(NEEDS[fact]) is None
    assert judge(NEEDS[fact], **unsaid) is Reason.POLICY_UNVERIFIABLE
    assert judge(STRICT, **unsaid) is Reason.POLICY_UNVERIFIABLE
    assert judge_request(NEEDS[fact], None, at_gateway=True) is Reason.POLICY_UNVERIFIABLE
    others: dict[str, Any] = dict.fromkeys({"address", "origin", "tls"} - {fact})
    assert judge(NEEDS[fact], **others) is None


def test_key_with_endpoints_gets_nothing_to_take_away() -> None:
    """Where the JWT goes to the client nobody sees what it is used for; address, TLS and origin still come first."""
    assert judge(at_gateway=False) is Reason.GATEWAY_ONLY
    assert judge(NEEDS["path"], at_gateway=False, method=None, path=None) is Reason.GATEWAY_ONLY
    assert judge_request(NEEDS["method"], None, at_gateway=False) is Reason.GATEWAY_ONLY
    assert judge(at_gateway=False, address="198.51.100.1") is Reason.ADDRESS_DENIED
    assert judge_request(STRICT, None, at_gateway=False) is Reason.POLICY_UNVERIFIABLE
    assert judge(NEEDS["address"], at_gateway=False) is None


@pytest.mark.parametrize(
    ("address", "networks", "fits"),
    [
        ("203.0.113.9", ["203.0.113.9"], True),
        ("203.0.113.9", ["203.0.113.9/32"], True),
        ("203.0.113.10", ["203.0.113.9"], False),
        ("203.0.113.9", ["10.0.0.0/8", "203.0.113.0/24"], True),
        ("::ffff:203.0.113.9", ["203.0.113.0/24"], True),
        ("203.0.113.9", ["::/0"], False),
        ("2001:db8::1", ["0.0.0.0/0"], False),
        ("2001:DB8:0::1", ["2001:db8::/32"], True),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("203.0.113.9:443", ["203.0.113.9"], True),
        ("nonsense", ["0.0.0.0/0", "::/0"], False),
        ("", ["0.0.0.0/0", "::/0"], False),
        ("203.0.113.9", ["nonsense"], False),
        ("203.0.113.9", ["203.0.113.9/24"], False),
        ("203.0.113.9", ["nonsense", "203.0.113.9"], True),
    ],
)
def test_address_is_in_a_network_or_not(address: str, networks: list[str], *, fits: bool) -> None:
    """Families do not mix, IPv4 in IPv6 clothes is IPv4, and a network nobody can read has nobody in it."""
    assert address_reason(address, *networks) is (None if fits else Reason.ADDRESS_DENIED)


@given(address=st.ip_addresses(), network=st.ip_addresses(), bits=st.integers(0, 128))
def test_addresses_are_judged_as_the_library_does(
    address: IPv4Address | IPv6Address, network: IPv4Address | IPv6Address, bits: int
) -> None:
    """Whatever the address and the network, the answer is containment."""
    net = ip_network(f"{network}/{min(bits, network.max_prefixlen)}", strict=False)
    plain = getattr(address, "ipv4_mapped", None) or address
    mapped = getattr(net.network_address, "ipv4_mapped", None)
    if mapped is None:
        assert (address_reason(str(address), str(net)) is None) == (plain in net)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        (" \t203.0.113.9\t", "203.0.113.9"),
        ("203.0.113.9:65535", "203.0.113.9"),
        ("2001:DB8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[fe80::1%eth0]:443", "fe80::1"),
        ("fe80::1%25", "fe80::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("[::ffff:cb00:7109]:80", "203.0.113.9"),
    ],
)
def test_address_is_read_in_every_usual_form(text: str, address: str) -> None:
    """With port, brackets, zone or blanks, it is the same address."""
    assert parse_address(text) == ip_address(address)


@pytest.mark.parametrize(
    "text",
    [
        *("", "unknown", "_hidden", "203.0.113", "203.0.113.010", "3405803785", "203.0.113.9:", "203.0.113.9:a"),
        *("203.0.113.9:123456", "[203.0.113.9]", "[2001:db8::1", "2001:db8::1]", "[]:80", "203.0.113.9/32", "fe80::1%"),
        *("203.0.113.9%eth0", "[[::1]]", "203.0.113.9, 203.0.113.8", "203.0.113.9\n", "\u0662.0.0.1"),
    ],
)
def test_what_is_no_address_is_none(text: str) -> None:
    """Nothing is guessed from half an address."""
    assert parse_address(text) is None


@pytest.mark.parametrize(
    ("origin", "hosts", "fits"),
    [
        ("https://app.example.com", ["app.example.com"], True),
        ("http://app.example.com:8080", ["app.example.com"], True),
        ("HTTPS://APP.Example.com", ["app.example.com"], True),
        ("https://app.example.com", ["example.com"], False),
        ("https://app.example.com", ["other.example.org", "*.example.com"], True),
        ("https://a.b.example.com", ["*.example.com"], True),
        ("https://example.com", ["*.example.com"], False),
        ("https://evilexample.com", ["*.example.com"], False),
        ("https://example.com.evil.org", ["example.com", "*.example.com"], False),
        ("https://app.example.com.", ["app.example.com"], False),
        ("https://app.example.com@evil.org", ["app.example.com"], False),
        ("https://evil.org/app.example.com", ["app.example.com"], False),
        ("https://evil.org#.example.com", ["*.example.com"], False),
        ("https://app.example.com, https://evil.org", ["app.example.com"], False),
        ("app.example.com", ["app.example.com"], False),
        ("ftp://app.example.com", ["app.example.com"], False),
        ("https://app.example.com/", ["app.example.com"], False),
        ("null", ["null", "*.example.com"], False),
        ("https://\u017fite.example.com", ["site.example.com", "*.example.com"], False),
        ("http://localhost:3000", ["localhost"], True),
    ],
)
def test_origin_is_of_a_host_or_not(origin: str, hosts: list[str], *, fits: bool) -> None:
    """Scheme and port do not matter, the whole host does; a star is one name or more, never none."""
    assert origin_reason(origin, *hosts) is (None if fits else Reason.ORIGIN_DENIED)


def test_policy_that_can_be_enforced_is_let_through() -> None:
    """Every field in its usual forms, up to the limit of each list."""
    check_policy(Policy())
    check_policy(STRICT)
    check_policy(Policy(allowed_ips=("2001:db8::/32", "10.0.0.0/8", "203.0.113.9"), allowed_origins=("localhost",)))
    check_policy(Policy(allowed_endpoints=tuple(f"GET /v1/{number}" for number in range(MAX_ITEMS))))


@pytest.mark.parametrize(
    ("field", "item"),
    [
        *(("allowed_ips", text) for text in ("", "nonsense", "10.0.0.1/8", "10.0.0.0/33", "::ffff:10.0.0.0/104")),
        *(("allowed_ips", text) for text in ("fe80::1%eth0", "10.0.0.0/8 ", "203.0.113.9:80", "1" * 50)),
        *(("allowed_origins", text) for text in ("", "*", "*.com", "App.example.com", "https://app.example.com")),
        *(
            ("allowed_origins", text)
            for text in ("app.example.com:80", "app.example.com.", "a..b", "b\u00fccher.example")
        ),
        *(("allowed_origins", text) for text in ("a.*.com", "-a.example.com", "null/", "a" * 64, "a." * 128 + "com")),
        *(("allowed_endpoints", text) for text in ("", "/v1", "get /v1", "GET /a/../b", "GET /" + "a" * 200)),
        *(("blocked_endpoints", text) for text in ("GET /a*", "GET /**/a", "GET /a;b", "* admin")),
    ],
)
def test_policy_that_nobody_could_enforce_names_its_field(field: str, item: str) -> None:
    """A restriction with a mistake in it is refused when it is made, and says where the mistake is."""
    good = getattr(STRICT, field)
    with pytest.raises(ChangeRefusedError, match=f"^{field}: "):
        check_policy(STRICT.changed({field: (*good, item)}))


@pytest.mark.parametrize("field", ["allowed_ips", "allowed_origins", "allowed_endpoints", "blocked_endpoints"])
def test_lists_have_an_end(field: str) -> None:
    """A list longer than the limit is refused, whatever is in it."""
    with pytest.raises(ChangeRefusedError, match=f"^{field}: at most 50, not 51"):
        check_policy(STRICT.changed({field: getattr(STRICT, field) * (MAX_ITEMS + 1)}))


@given(texts=st.lists(st.text(max_size=12) | st.from_regex(r"[0-9a-f:.]{1,9}(/[0-9]{1,3})?"), min_size=1, max_size=3))
def test_any_networks_can_be_compared(texts: list[str]) -> None:
    """Also of networks that somebody wrote into a record by hand, and that nobody can read, less is less."""
    policy = Policy(allowed_ips=tuple(texts))
    assert not policy.narrows(policy)
    assert policy.narrows(Policy()) == {"allowed_ips"}
    assert not Policy().narrows(policy)
