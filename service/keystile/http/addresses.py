"""Whose request it is: the client's address, behind the proxies that may speak for it."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class ClientAddresses:
    """Believes `X-Forwarded-For` only from *trusted* networks, and only up to the first hop outside them.

    Anybody can send the header. So it is read from the right: each hop was written by the one after it, and the
    first address that is not a trusted proxy is the last one that a trusted proxy vouched for.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted = tuple(ipaddress.ip_network(cidr, strict=False) for cidr in trusted)

    def of(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """Return the client's address for a request with these *headers* on a connection from *peer*."""
        if not self._trusted or not self._is_trusted(peer):
            return peer
        forwarded_for = [value for name, value in headers if name == b"x-forwarded-for"]
        if not forwarded_for:
            return peer
        client = peer
        for hop in reversed(b",".join(forwarded_for).decode("latin-1").split(",")):
            address = _parse(hop.strip())
            if address is None:
                return client  # a trusted proxy would not have written this: what lies beyond is anybody's
            client = str(address)
            if not self._is_trusted(client):
                return client
        return client

    def _is_trusted(self, text: str) -> bool:
        address = _parse(text)
        return address is not None and any(address in network for network in self._trusted)


def _parse(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
