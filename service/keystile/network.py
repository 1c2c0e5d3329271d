"""The network part of a policy: from where, over what and to which endpoint a key may be used.

It is judged only by what a trusted proxy said of the client's request. What it did not say clearly refuses the key:
whoever connects to us is the gateway, and what the client says of itself is nobody's word.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from keystile.endpoints import endpoints_allow, parse_endpoint
from keystile.errors import PolicyRefusedError, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystile.restrictions import Policy

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_ITEMS = 50  # of one list
_LONGEST = {"allowed_ips": 49, "allowed_origins": 255, "allowed_endpoints": 200, "blocked_endpoints": 200}
_WITH_PORT = re.compile(r"(?:\[([^\[\]]+)\]|([^:]+))(?::[0-9]{1,5})?")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*"
_LISTED_ORIGIN = re.compile(rf"{_HOST}|\*\.{_LABEL}\.{_HOST}")
_ORIGIN = re.compile(rf"https?://({_HOST})(?::[0-9]{{1,5}})?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a trusted proxy said of the client's request; None: nothing, or not one clear thing.

    *address* is the client's and no proxy's; *origin* is the `Origin` header; *path* is the request target as the
    client sent it, neither decoded nor tidied.
    """

    address: str | None = None
    origin: str | None = None
    tls: bool | None = None
    method: str | None = None
    path: str | None = None


_NOTHING = Facts()


def judge_request(policy: Policy, facts: Facts | None, *, at_gateway: bool) -> Reason | None:
    """Return why *policy* refuses a request of which *facts* were said, None if it does not.

    Where a JWT is handed to the client itself, nobody will see what it is used for: with endpoints in its policy a key
    gets none there.
    """
    said = facts or _NOTHING
    refusal = _judge_client(policy, said)
    if refusal is None and policy.has_endpoints:
        return _judge_endpoint(policy, said) if at_gateway else Reason.GATEWAY_ONLY
    return refusal


def _judge_client(policy: Policy, said: Facts) -> Reason | None:
    needed = (
        (policy.allowed_ips, said.address),
        (policy.require_tls, said.tls),
        (policy.allowed_origins, said.origin),
    )
    if any(restricted and fact is None for restricted, fact in needed):
        return Reason.POLICY_UNVERIFIABLE
    if policy.allowed_ips and not _is_among(said.address or "", policy.allowed_ips):
        return Reason.ADDRESS_DENIED
    if policy.require_tls and not said.tls:
        return Reason.TLS_REQUIRED
    if policy.allowed_origins and not _is_from(said.origin or "", policy.allowed_origins):
        return Reason.ORIGIN_DENIED
    return None


def _judge_endpoint(policy: Policy, said: Facts) -> Reason | None:
    if said.method is None or said.path is None:
        return Reason.POLICY_UNVERIFIABLE
    allowed = endpoints_allow(policy.allowed_endpoints, policy.blocked_endpoints, said.method, said.path)
    return None if allowed else Reason.ENDPOINT_DENIED


def parse_address(text: str) -> Address | None:
    """Return the address in `203.0.113.9`, `203.0.113.9:443`, `2001:db8::1` or `[2001:db8::1]:443`, None in others.

    An IPv4 address in IPv6 clothes is the IPv4 one, and a zone (`fe80::1%eth0`) is dropped: it means something only
    on the machine that wrote it.
    """
    text = text.strip(" \t")
    match = _WITH_PORT.fullmatch(text)
    try:
        address = ipaddress.ip_address(match[1] or match[2] if match else text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or ipaddress.IPv6Address(int(address))
    return address if match is None or match[2] else None  # [203.0.113.9] is nothing


def check_policy(policy: Policy) -> None:
    """Raise a `PolicyRefusedError` that names the field, if the network part of a new policy cannot be enforced."""
    for field, check in _CHECKS.items():
        items: tuple[str, ...] = getattr(policy, field)
        if len(items) > MAX_ITEMS:
            raise PolicyRefusedError(f"{field}: at most {MAX_ITEMS}, not {len(items)}", field)
        for item in items:
            if len(item) > _LONGEST[field]:
                raise PolicyRefusedError(f"{field}: {item[:40]!r}… is longer than {_LONGEST[field]} characters", field)
            try:
                check(item)
            except ValueError as error:
                raise PolicyRefusedError(f"{field}: {item!r}: {error}", field) from error


def _is_among(address: str, networks: tuple[str, ...]) -> bool:
    client = parse_address(address)
    return client is not None and any(net is not None and client in net for net in map(_known_network, networks))


def _is_from(origin: str, hosts: tuple[str, ...]) -> bool:
    match = _ORIGIN.fullmatch(origin)
    if match is None:  # `null` above all: sandboxed and local pages
        return False
    host = match[1].lower()
    return any(host.endswith(each[1:]) if each.startswith("*.") else host == each for each in hosts)


@lru_cache(maxsize=4_096)
def _known_network(text: str) -> Network | None:
    try:
        return _parse_network(text)
    except ValueError:
        return None  # nobody is in it


def _parse_network(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError("it is not an address or a CIDR, or has bits set beyond its prefix") from error
    if isinstance(network, ipaddress.IPv6Network) and ("%" in text or network.network_address.ipv4_mapped):
        raise ValueError("a CIDR has no zone, and one of IPv4 addresses is written as IPv4")
    return network


def _parse_origin(text: str) -> None:
    if not _LISTED_ORIGIN.fullmatch(text):
        raise ValueError("it is a host name in small ASCII letters, like app.example.com or *.example.com")


_CHECKS: dict[str, Callable[[str], object]] = {
    "allowed_ips": _parse_network,
    "allowed_origins": _parse_origin,
    "allowed_endpoints": parse_endpoint,
    "blocked_endpoints": parse_endpoint,
}
