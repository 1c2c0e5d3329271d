"""What JWTs tell of a key's owner, where the deployment says so: roles, groups, and attributes under names of its own.

Whoever can write what is told decides what services read: an attribute that users may edit tells what they like.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from keystile.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from keystile.records import Owner

_ENTRY = re.compile(r"(?P<attribute>[^:\[\]\s]{1,255}):(?P<claim>[A-Za-z][A-Za-z0-9_./:-]{0,127})(?P<many>\[\])?")
_SECRET = "apikey"  # noqa: S105 - how the attributes begin that hold key records, older ones too
# What JWTs say already, and what services take for the word of an issuer: RFC 7519, 8693, 9068, 7800, 9449, 9396,
# OpenID Connect Core, RFC 7662, and the two claims that Keycloak's own adapters take roles from.
_RESERVED = frozenset(
    {
        *("iss", "sub", "aud", "exp", "iat", "nbf", "jti", "client_id", "scope", "scp", "gen", "env", "act", "may_act"),
        *("cnf", "tenant", "projects", "capabilities", "constraints", "roles", "groups", "entitlements", "azp", "acr"),
        *("amr", "auth_time", "sid", "nonce", "at_hash", "c_hash", "s_hash", "typ", "token_type", "active", "username"),
        *("authorization_details", "events", "txn", "toe", "sub_id", "status", "realm_access", "resource_access"),
        *("allowed-origins", "key_id"),
    }
)


@dataclass(frozen=True, slots=True)
class Mapper:
    """How one attribute is told: under *claim*; *many*: as a list of any length, else as one text."""

    claim: str
    many: bool


@dataclass(frozen=True, slots=True)
class OwnerClaims:
    """Which roles and groups may be told, as `Directory.roles` writes them, and mappers by attribute."""

    roles: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    mappers: Mapping[str, Mapper] = field(default_factory=dict, hash=False)

    def __bool__(self) -> bool:
        """Return whether anything is told of owners."""
        return bool(self.roles or self.groups or self.mappers)

    @property
    def need_roles(self) -> bool:
        """Whether an owner's roles and groups have to be read."""
        return bool(self.roles or self.groups)

    def are_known(self, owner: Owner) -> bool:
        """Tell whether *owner* was read with all that is told of it."""
        read = owner.roles is not None or not self.need_roles
        return read and self.mappers.keys() <= (owner.attributes or {}).keys()

    def of(self, owner: Owner) -> dict[str, Any]:
        """Return the claims. What was not read is not told, and neither is one text of an attribute with several."""
        held = owner.roles or frozenset()
        told: dict[str, Any] = {"roles": sorted(held & self.roles), "groups": sorted(held & self.groups)}
        for attribute, mapper in self.mappers.items():
            values = (owner.attributes or {}).get(attribute, ())
            told[mapper.claim] = list(values) if mapper.many else values[0] if len(values) == 1 else ""
        return {claim: value for claim, value in told.items() if value}

    def belie(self, claims: Mapping[str, Any], owner: Owner) -> bool:
        """Tell whether *claims* of a JWT say of *owner* what is not so any more: a lost role, another attribute."""
        now = self.of(owner)
        if any(_texts(claims.get(name)) - _texts(now.get(name)) for name in ("roles", "groups")):
            return True
        told = (mapper.claim for mapper in self.mappers.values() if mapper.claim in claims)
        return any(claims[claim] != now.get(claim) for claim in told)


def parse_owner_claims(roles: Iterable[str], groups: Iterable[str], mappers: Iterable[str]) -> OwnerClaims:
    """Read roles `deployer` or `client:role`, groups `/path`, mappers `attribute:claim` or `attribute:claim[]`.

    Raises `ConfigurationError`.
    """
    roles, groups = frozenset(roles), frozenset(groups)
    for role in roles:
        if role.startswith("/"):
            raise ConfigurationError(f"{role!r} is a group: it belongs into KEYSTILE_CLAIM_GROUPS")
    for group in groups:
        if not group.startswith("/"):
            raise ConfigurationError(f"a group is named by its path, like /ops, not {group!r}")
    read: dict[str, Mapper] = {}
    for entry in mappers:
        attribute, mapper = _parse(entry)
        if attribute in read or any(mapper.claim == other.claim for other in read.values()):
            raise ConfigurationError(f"{entry!r}: each attribute and each claim is named once")
        read[attribute] = mapper
    return OwnerClaims(roles, groups, MappingProxyType(read))


def _parse(entry: str) -> tuple[str, Mapper]:
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise ConfigurationError(f"{entry!r}: a mapper is written attribute:claim, or attribute:claim[] for a list")
    attribute, claim = match["attribute"], match["claim"]
    if attribute.casefold().startswith(_SECRET):
        raise ConfigurationError(f"{attribute!r} belongs to key records and is told to nobody")
    if claim.casefold() in _RESERVED:
        raise ConfigurationError(f"the claim {claim!r} has a meaning of its own and cannot be mapped over")
    return attribute, Mapper(claim, many=bool(match["many"]))


def _texts(value: object) -> set[str]:
    return set(map(str, value)) if isinstance(value, list) else set()
