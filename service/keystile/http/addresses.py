"""Whose request it is: the client's address, behind the proxies that may speak for it."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, NamedTuple

from keystile.network import parse_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keystile.network import Address


class Client(NamedTuple):
    """Whose request it is. *behind*: a trusted proxy sent it; *named*: and the address is the client's, no proxy's."""

    address: str
    behind: bool = False
    named: bool = False


class ClientAddresses:
    """Believes `X-Forwarded-For` only from *trusted* networks, and only up to the first hop outside them.

    Anybody can send the header. So it is read from the right: each hop was written by the one after it, and the
    first address that is not a trusted proxy is the last one that a trusted proxy vouched for.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted = tuple(ipaddress.ip_network(cidr, strict=False) for cidr in trusted)

    def of(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> Client:
        """Return the client of a request with these *headers* on a connection from *peer*."""
        if not self._trusted or not self._is_trusted(parse_address(peer)):
            return Client(peer)
        forwarded_for = [value for name, value in headers if name == b"x-forwarded-for"]
        client = peer
        for hop in reversed(b",".join(forwarded_for).decode("latin-1").split(",")):
            address = parse_address(hop)
            if address is None:  # a trusted proxy would not have written this: what lies beyond is anybody's
                break
            client = str(address)
            if not self._is_trusted(address):
                return Client(client, behind=True, named=True)
        return Client(client, behind=True)

    def _is_trusted(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)
