"""What counts as one client: whoever has an IPv6 address has 2^64 of them."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address

_CLIENT_PREFIX = 64


def client_of(address: str) -> str:
    """Return what counts as one client: an IPv4 address, an IPv6 /64; what is no address stands for itself."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Network((int(parsed), _CLIENT_PREFIX), strict=False))
    return str(parsed)
