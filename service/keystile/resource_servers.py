"""Which clients of the realm are resource servers, and for which audiences: one setting, read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystile.claims import parse_resource
from keystile.errors import ConfigurationError, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable


def parse_resource_servers(entries: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Read `client=audience audience`, the most particular audience first. Raises `ConfigurationError`."""
    servers: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        client, _, listed = entry.partition("=")
        client, audiences = client.strip(), tuple(listed.split())
        if not client or not audiences:
            raise ConfigurationError(f"{entry!r}: write client=audience, more audiences with spaces between them")
        if client in servers:
            raise ConfigurationError(f"{client!r} stands there twice")
        servers[client] = tuple(_audience(each) for each in audiences)
    return servers


def _audience(text: str) -> str:
    try:
        return parse_resource(text)
    except RequestError as error:
        raise ConfigurationError(f"{text!r} is no absolute URI without a fragment") from error
