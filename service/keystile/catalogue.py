"""The catalogue of scopes: which there are, and which count only while the owner holds a role or is in a group."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from keystile.claims import parse_scope
from keystile.errors import ConfigurationError
from keystile.policy import API_SCOPES

if TYPE_CHECKING:
    from collections.abc import Iterable

_ENTRY = re.compile(r"(?P<scope>.+?)@(?:role:(?P<role>[^/].*)|group:(?P<group>/.+))", re.DOTALL)


def parse_catalogue(entries: Iterable[str]) -> dict[str, str]:
    """Read `deploy`, `deploy@role:deployer`, `ops@role:client:name` or `ops@group:/ops`; return what each scope needs.

    That is written as `Directory.roles` writes it, and "" where a scope needs nothing. Raises `ConfigurationError`.
    """
    catalogue: dict[str, str] = {}
    for entry in entries:
        scope, needed = _parse(entry)
        if scope in catalogue:
            raise ConfigurationError(f"{scope!r} stands there twice")
        if needed and scope in API_SCOPES:
            raise ConfigurationError(f"{scope!r} is Keystile's own and cannot be bound")
        catalogue[scope] = needed
    return catalogue


def client_roles(catalogue: dict[str, str]) -> tuple[str, ...]:
    """Return the roles of clients, `client:name`, that scopes need."""
    return tuple(dict.fromkeys(needed for needed in catalogue.values() if ":" in needed and needed[0] != "/"))


def _parse(entry: str) -> tuple[str, str]:
    match = _ENTRY.fullmatch(entry)
    if match is None and re.search(r"@(role|group):", entry):
        raise ConfigurationError(f"{entry!r}: a role is named like @role:deployer, a group like @group:/ops")
    scope = match["scope"] if match else entry
    if len(parse_scope(scope)) != 1:
        raise ConfigurationError(f"{scope!r} is more than one scope: put a comma between them")
    return scope, (match["role"] or match["group"]) if match else ""
