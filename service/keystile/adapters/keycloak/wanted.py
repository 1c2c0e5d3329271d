"""What a realm must look like for Keystile: said once, for set-up, which makes it so, and doctor, which checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keystile.adapters.keycloak.attributes import LOOKUPS, PADDED, RECORDS
from keystile.records import MAX_TEXT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keystile.adapters.keycloak.access import Credentials

READER_ROLES = frozenset({"view-users", "view-events", "view-realm"})
WRITER_ROLES = frozenset({"manage-users", "view-clients"})
TOKENS_ROLES: frozenset[str] = frozenset()
HARMLESS_ROLES = frozenset({"query-users", "query-clients", "query-groups", "query-realms", "view-organizations"})
API_CLIENT = "keystile"
API_ROLES = {
    "key-admin": "May manage the API keys of every owner.",
    "tenant-admin": "May manage the API keys of the owner's own tenant.",
}
API_SCOPE = "keystile"
IDENTITY_PROVIDER = "keystile"
MANAGEMENT = "realm-management"
MARKED = f"{API_CLIENT}:marks"  # a realm role of the reader: it can see marks
ADMIN_EVENTS_TTL = 3 * 86_400  # seconds
POLICY = "unmanagedAttributePolicy"
OPEN_POLICY = "ENABLED"
OLDER_POLICY = "ADMIN_EDIT"
MAX_VALUES = 64  # 50 live keys and 10 tombstones
_ADMIN_ONLY = {"view": ["admin"], "edit": ["admin"]}
_LENGTHS = {RECORDS: MAX_TEXT, LOOKUPS: PADDED}


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedGrant:
    """How tokens for keys are asked for: by assertions of *issuer*, signed by the key of that public half and id.

    Tokens live for *token_ttl* seconds; *audiences* and *scopes* are what they may have.
    """

    issuer: str
    public_key: str
    key_id: str
    token_ttl: int
    audiences: tuple[str, ...]
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedRealm:
    """A realm to set up, and the clients it shall have. *older_keys*: it may hold keys of the older form.

    *api_clients*: the clients whose tokens are for Keystile too. *marked*: roles of other clients, `client:role`,
    that scopes depend on. *grant* is None where the realm signs nothing for keys.
    """

    realm: str
    reader: Credentials
    writer: Credentials
    tokens: Credentials
    create_realm: bool = False
    older_keys: bool = False
    api_clients: tuple[str, ...] = ()
    marked: tuple[str, ...] = ()
    grant: WantedGrant | None = None


def marks(marked: Iterable[str]) -> dict[tuple[str, str], str]:
    """Return, for client roles by client and name, the realm role that shows who holds each.

    The reader sees a user's realm roles. To see its client roles it would need view-clients, which shows the secrets of
    all clients (measured on 26.7.4), the writer's among them. So each such client role brings a realm role along, its
    mark, and whoever has the one by whatever way has the other.
    """
    found = {(API_CLIENT, name): f"{API_CLIENT}:{name}" for name in API_ROLES}
    for mark in marked:
        client, _, name = mark.rpartition(":")  # a client's name may be a URL
        found[client, name] = mark
    return found


def declared(profile: dict[str, Any], name: str) -> dict[str, Any]:
    """Return *profile* with that attribute of ours declared, and everything else as it was."""
    attributes = profile.get("attributes", [])
    before: dict[str, Any] = next((attribute for attribute in attributes if attribute["name"] == name), {})
    validations = before.get("validations", {}) | _validations(name)
    after = before | {"name": name, "multivalued": True, "permissions": _ADMIN_ONLY, "validations": validations}
    after.pop("selector", None)  # would declare it for some client scopes only
    return profile | {"attributes": [item for item in attributes if item is not before] + [after]}


def is_declared(profile: dict[str, Any], name: str) -> bool:
    """Tell whether *profile* declares that attribute of ours as we need it."""
    found: dict[str, Any] = next((item for item in profile.get("attributes", ()) if item["name"] == name), {})
    return (
        found.get("multivalued") is True
        and found.get("permissions") == _ADMIN_ONLY
        and not found.get("selector")
        and all(_limit(found, kind) >= int(rule["max"]) for kind, rule in _validations(name).items())
    )


def _validations(name: str) -> dict[str, dict[str, Any]]:
    return {"length": {"max": _LENGTHS[name]}, "multivalued": {"max": str(MAX_VALUES)}}


def _limit(attribute: dict[str, Any], kind: str) -> int:
    return int(attribute.get("validations", {}).get(kind, {}).get("max", 0))
