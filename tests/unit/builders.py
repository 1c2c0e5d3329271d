"""Small builders: peppers, keys, records, owners and contexts, each with the defaults a test need not name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from keystile.changes import ALL_GENERATIONS, Change
from keystile.keys import ApiKey, KeyFormat, make_stamp
from keystile.limits import DEFAULT_LEVELS, Levels
from keystile.peppers import Pepper, Peppers
from keystile.policy import RequestContext, Rules
from keystile.records import KeyRecord, Owner

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DAY = timedelta(days=1)
ISSUER = "https://id.example.com/sts"
DEFAULT_AUDIENCE = f"{ISSUER}/default"
API_AUDIENCE = f"{ISSUER}/api/v1"
LEVELS = Levels.parse(DEFAULT_LEVELS)
SOME_BCRYPT = "$2b$12$" + "a" * 21 + "." + "a" * 31


def pepper(pepper_id: str = "p1", *, retired: bool = False) -> Pepper:
    """Return a pepper whose secret follows from its id."""
    return Pepper(pepper_id, f"secret of {pepper_id}".encode().ljust(32, b"."), retired=retired)


PEPPERS = Peppers((pepper(),))
FORMAT = KeyFormat(PEPPERS)


def rules(**changes: Any) -> Rules:  # noqa: ANN401 - fields of the class
    return Rules(**{"default_audience": DEFAULT_AUDIENCE, "levels": LEVELS, **changes})


def api_rules(**changes: Any) -> Rules:  # noqa: ANN401 - fields of the class
    """Return rules of a deployment with a management API."""
    return rules(**{"api_audience": API_AUDIENCE, **changes})


def asked(for_rules: Rules | None = None, **changes: Any) -> RequestContext:  # noqa: ANN401 - fields of the class
    """Return the context of a request from 192.0.2.1."""
    return RequestContext(**{"rules": for_rules or rules(), "door": "token", "address": "192.0.2.1", **changes})


def a_record(**changes: Any) -> KeyRecord:  # noqa: ANN401 - fields of the class
    """Return the record of a live key issued at NOW that never expires."""
    defaults: dict[str, Any] = {
        "key_id": "k3v9x0q2m7ab",
        "gen": 1,
        "environment": "live",
        "name": "laptop",
        "bcrypt": SOME_BCRYPT,
        "issued_at": NOW,
    }
    return KeyRecord(**{**defaults, **changes})


def an_owner(*records: KeyRecord, **changes: Any) -> Owner:  # noqa: ANN401 - fields of the class
    return Owner(**{"id": "owner-1", "username": "alice", "records": records, **changes})


def death_of(key_id: str) -> Change:
    """Return what is said when a key is revoked."""
    return Change(key_id=key_id, gen=2, kills_below=ALL_GENERATIONS, dead=True, floor_until=4e9, at=NOW.timestamp())


def with_other_secret(key: ApiKey) -> ApiKey:
    """Return a well-stamped key with the id of *key*: what a leaked pepper would let somebody make."""
    body = key.reveal()[:25] + FORMAT.generate("live").reveal()[25:57]
    return FORMAT.parse(body + make_stamp(PEPPERS.current, body.encode()))
