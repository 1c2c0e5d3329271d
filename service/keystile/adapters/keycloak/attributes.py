"""How an owner and its key records look in a Keycloak user, and back: pure, no I/O.

Keycloak is trusted for what it holds: whoever can write these attributes can issue keys.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from keystile.errors import ChangeRefusedError
from keystile.older import is_older_value, older_attributes, read_older, write_older
from keystile.records import KeyRecord, Owner, Unreadable, UnreadableRecordError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

RECORDS = "apiKeys"
LOOKUPS = "apiKeyLookup"
OURS = (RECORDS, LOOKUPS)
CANARY = "keystile-canary"  # a look-up value, and no key id: those have no hyphen
PADDED = 264  # Keycloak indexes values of more than 255 characters, and compares others row by row
_SENT = ("username", "email", "firstName", "lastName")  # left out, the last three would be wiped
_PLAIN = re.compile(r"(?!x-)[a-z0-9_][a-z0-9_-]*(?<!-)", re.ASCII)
_HEX = "x-"
_LONGEST = 200

Attributes = dict[str, list[str]]


def padded(lookup: str) -> str | None:
    """Return the value that stands for *lookup* in `apiKeyLookup`; None if *lookup* is none or too long for that."""
    # Keycloak's search ignores case, and ids of the older form may hold capitals: those are written in hexadecimal.
    text = lookup if _PLAIN.fullmatch(lookup) else _HEX + lookup.encode().hex()
    return text.ljust(PADDED, "-") if lookup and len(text) <= _LONGEST else None


def unpadded(value: str) -> str | None:
    """Return what look-up value *value* stands for; None if it is not of our making."""
    text = value.rstrip("-")
    try:
        lookup = bytes.fromhex(text.removeprefix(_HEX)).decode() if text.startswith(_HEX) else text
    except ValueError:
        return None
    return lookup if padded(lookup) == value else None


def attributes_of(user: Mapping[str, Any]) -> Attributes:
    """Return all attributes a user representation shows."""
    return dict(user.get("attributes") or {})


def to_owner(user: Mapping[str, Any], *, realm_not_before: int = 0, told: Iterable[str] = ()) -> Owner:
    """Read a full user representation; whatever cannot be read is kept as it is.

    *told*: the attributes that JWTs tell; each is known then, if only as empty.
    """
    attributes = attributes_of(user)
    read = [_read(value, attributes) for value in attributes.get(RECORDS, ())]
    lookups = map(unpadded, attributes.get(LOOKUPS, ()))
    return Owner(
        id=user["id"],
        username=user["username"],
        enabled=user.get("enabled") is True,
        not_before=max(user.get("notBefore") or 0, realm_not_before),
        records=_one_each(record for record in read if isinstance(record, KeyRecord)),
        unreadable=tuple(sorted((kept for kept in read if isinstance(kept, Unreadable)), key=lambda kept: kept.text)),
        lookups=frozenset(lookup for lookup in lookups if lookup is not None),
        attributes={name: tuple(sorted(attributes.get(name, ()))) for name in told} or None,
    )


def to_attributes(user: Mapping[str, Any], owner: Owner) -> Attributes:
    """Return the whole attribute map that makes *user* hold what *owner* holds, everything foreign as it is."""
    before = attributes_of(user)
    texts = [_text(record, before) for record in owner.records] + [kept.text for kept in owner.unreadable]
    gone = _older_ids(before.get(RECORDS, ())) - _older_ids(texts)
    dropped = {name for key_id in gone for name in older_attributes(key_id)}
    foreign_lookups = [value for value in before.get(LOOKUPS, ()) if unpadded(value) is None]
    ours = {RECORDS: texts, LOOKUPS: foreign_lookups + [_padded(lookup) for lookup in sorted(owner.lookups)]}
    kept = {name: values for name, values in before.items() if name not in OURS and name not in dropped}
    return kept | {name: values for name, values in ours.items() if values}


def put_body(user: Mapping[str, Any], attributes: Attributes) -> dict[str, Any]:
    """Return what to PUT so that *user* gets exactly these attributes and is otherwise left alone."""
    # Never `enabled` nor `requiredActions`: sent back as they were read, they would undo what an admin just set.
    return {name: user[name] for name in _SENT if name in user} | {"attributes": attributes}


def same_ours(one: Mapping[str, list[str]], other: Mapping[str, list[str]]) -> bool:
    """Tell whether two attribute maps agree in what is ours; Keycloak keeps neither order nor duplicates."""
    return all(set(one.get(name, ())) == set(other.get(name, ())) for name in OURS)


def _read(value: str, attributes: Attributes) -> KeyRecord | Unreadable:
    try:
        if not is_older_value(value):
            return KeyRecord.from_text(value)
        record = read_older(value, attributes)
    except UnreadableRecordError as error:
        return Unreadable(value, error.key_id)
    # Keycloak hides attributes that its user profile neither declares nor lets administrators see. An older record
    # with nothing at all beside it may have an expiry we cannot see, and a hidden expiry must not make a key eternal.
    if attributes.keys().isdisjoint(older_attributes(record.key_id)):
        return Unreadable(value, record.key_id)
    return record


def _one_each(records: Iterable[KeyRecord]) -> tuple[KeyRecord, ...]:
    """Of records with the same id keep the one that says most: the later generation, and death before life."""
    best: dict[str, KeyRecord] = {}
    for record in sorted(records, key=lambda record: (record.gen, record.is_dead, record.issued_at)):
        best[record.key_id] = record
    return tuple(sorted(best.values(), key=lambda record: (record.issued_at, record.key_id)))


def _text(record: KeyRecord, before: Attributes) -> str:
    """Return the stored text of an unchanged record as it was, else the record's own; may refuse one too large."""
    if record.is_older and not record.gen:  # once changed it is kept in the current form
        return write_older(record)
    return next((value for value in before.get(RECORDS, ()) if _read(value, before) == record), "") or record.to_text()


def _padded(lookup: str) -> str:
    value = padded(lookup)
    if value is None:
        raise ChangeRefusedError("a look-up value is 1 to 99 bytes long")
    return value


def _older_ids(values: Iterable[str]) -> set[str]:
    return {value.split(":")[1] for value in values if is_older_value(value)}
