from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.http.addresses import Client, ClientAddresses

PEER = "10.0.0.1"
addresses = st.ip_addresses().map(str)
hops = st.lists(addresses | st.text(st.characters(codec="latin-1"), max_size=12), max_size=5)


def told(trusted: list[str], peer: str, *forwarded: str) -> Client:
    return ClientAddresses(trusted).of(peer, [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded])


def client(trusted: list[str], peer: str, *forwarded: str) -> str:
    return told(trusted, peer, *forwarded).address


@given(peer=addresses, forwarded=hops)
def test_forwarding_headers_mean_nothing_by_default(peer: str, forwarded: list[str]) -> None:
    """Without trusted proxies the address is the connection's, whatever anybody writes into a header."""
    assert client([], peer, *forwarded) == peer


@given(forwarded=hops)
def test_stranger_cannot_speak_for_others(forwarded: list[str]) -> None:
    """A header from an address outside the trusted networks is not looked at."""
    assert client(["10.0.0.0/8"], "192.0.2.7", *forwarded) == "192.0.2.7"


@given(spoofed=hops)
def test_what_a_client_wrote_itself_changes_nothing(spoofed: list[str]) -> None:
    """The first address from the right that is no proxy is the client; what stands left of it is its own word."""
    line = ", ".join([*spoofed, "203.0.113.9", "10.1.2.3"])
    assert client(["10.0.0.0/8"], PEER, line) == "203.0.113.9"
    assert client(["10.0.0.0/8"], PEER, *spoofed, "203.0.113.9", "10.1.2.3") == "203.0.113.9"


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ([], PEER),
        ([""], PEER),
        (["203.0.113.9"], "203.0.113.9"),
        (["10.0.0.2"], "10.0.0.2"),
        (["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        (["203.0.113.9, unknown"], PEER),
        (["203.0.113.9,"], PEER),
        (["203.0.113.9:1234"], "203.0.113.9"),
        (["203.0.113.9:1234, 10.0.0.3:80"], "203.0.113.9"),
        (["[2001:db8::1]:443"], "2001:db8::1"),
        (["fe80::1%eth0"], "fe80::1"),
        (["\t203.0.113.9  ,\t10.0.0.3 "], "203.0.113.9"),
        (["203.0.113.9 203.0.113.8"], PEER),
        (["203.0.113.9:"], PEER),
        (["[203.0.113.9"], PEER),
        (["203.0.113.9, 10.0.0.3, _hidden"], PEER),
        (["203.0.113.9, garbage, 10.0.0.3"], "10.0.0.3"),
        (["2001:db8::1"], "2001:db8::1"),
        (["[2001:DB8::1]"], "2001:db8::1"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9, ::ffff:10.0.0.3"], "203.0.113.9"),
        (["203.0.113.010"], PEER),
        (["3405803785"], PEER),
    ],
)
def test_line_is_read_from_the_right_until_it_cannot_be(forwarded: list[str], address: str) -> None:
    """Garbage ends the reading at the last hop that a trusted proxy vouched for."""
    assert client(["10.0.0.0/8"], PEER, *forwarded) == address


def test_networks_may_be_of_either_family() -> None:
    """IPv4 and IPv6 proxies are trusted side by side, and each only for itself."""
    trusted = ["10.0.0.0/8", "fd00::/8", "192.0.2.1"]
    assert client(trusted, "fd00::1", "203.0.113.9, 192.0.2.1, 10.0.0.9") == "203.0.113.9"
    assert client(trusted, "::ffff:10.0.0.1", "203.0.113.9") == "203.0.113.9"
    assert client(trusted, "192.0.2.2", "203.0.113.9") == "192.0.2.2"


@given(trusted=st.sampled_from(["10.0.0.0/8", "0.0.0.0/0", "::/0"]), forwarded=hops)
def test_answer_is_the_peer_or_an_address(trusted: str, forwarded: list[str]) -> None:
    """Whatever the header, what comes out is the connection's address or a well-formed one."""
    found = client([trusted], PEER, *forwarded)
    assert found == PEER or str(ip_address(found)) == found


@pytest.mark.parametrize(
    ("forwarded", "named"),
    [
        (["203.0.113.9"], True),
        (["198.51.100.1, 203.0.113.9, 10.0.0.3"], True),
        ([], False),
        (["unknown"], False),
        (["203.0.113.9, unknown, 10.0.0.3"], False),
        (["10.0.0.2"], False),
        ([PEER], False),
    ],
)
def test_proxys_own_address_is_nobodys(forwarded: list[str], *, named: bool) -> None:
    """Where no proxy named anybody else, the address is a gateway's own, and no policy is judged by it."""
    found = told(["10.0.0.0/8"], PEER, *forwarded)
    assert (found.behind, found.named) == (True, named)


@given(forwarded=hops)
def test_who_trusts_everybody_knows_nobody(forwarded: list[str]) -> None:
    """If every address is a trusted proxy's, none is a client's: a client's own word never counts as named."""
    assert not told(["0.0.0.0/0", "::/0"], PEER, *forwarded).named


@given(peer=addresses, forwarded=hops)
def test_nobody_is_named_by_a_stranger(peer: str, forwarded: list[str]) -> None:
    """A request that no trusted proxy sent has nobody behind it."""
    assert told(["192.0.2.0/28"], peer, *forwarded) == Client(peer) or peer.startswith("192.0.2.")
