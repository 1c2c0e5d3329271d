from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keystile.cli.keycloak import wanted_realm
from keystile.errors import ConfigurationError
from unit.environments import KEYCLOAK, SECRET, Load

if TYPE_CHECKING:
    from pathlib import Path

CLIENTS = {f"KEYCLOAK_{name}_SECRET": SECRET for name in ("READER", "WRITER", "TOKENS")}
WHOLE = {**KEYCLOAK, **CLIENTS}


@pytest.mark.parametrize("kind", ["local", "keycloak"])
def test_set_up_lets_the_realm_sign_for_either_kind(load: Load, tmp_path: Path, kind: str) -> None:
    """The key is made once, and the realm is told its public half, our audiences and our scopes: the same each time."""
    more = {"DATA_DIR": str(tmp_path), "ISSUER_KIND": kind, "SCOPES": "read,introspect", "AUDIENCES": "urn:a"}
    settings = load(**WHOLE, **more)
    (first, told), (second, _) = (wanted_realm(settings, create_realm=False) for _ in range(2))
    assert told == []
    assert first.grant is not None
    assert first.grant == second.grant
    assert (first.grant.issuer, first.grant.token_ttl) == (settings.assertion_issuer, 300)
    assert (first.grant.audiences, first.grant.scopes) == ((settings.default_audience, "urn:a"), ("read",))
    assert "PRIVATE" not in first.grant.public_key


def test_name_too_long_for_keycloak_stops_no_set_up(load: Load, tmp_path: Path) -> None:
    """Where Keystile signs itself an audience may be longer than a client scope's name."""
    settings = load(**WHOLE, DATA_DIR=str(tmp_path), AUDIENCES=f"urn:a,urn:{'b' * 300}")
    grant = wanted_realm(settings, create_realm=False)[0].grant
    assert grant is not None
    assert grant.audiences == (settings.default_audience, "urn:a")


def test_set_up_from_elsewhere_leaves_the_grant_alone(load: Load, tmp_path: Path) -> None:
    """Who runs it without the servers' settings changes nothing of it, and makes no key."""
    settings = load(**CLIENTS, KEYCLOAK_URL="https://id.example.com", DATA_DIR=str(tmp_path))
    wanted, told = wanted_realm(settings, create_realm=False)
    assert (wanted.grant, told, list(tmp_path.iterdir())) == (None, [], [])


def test_set_up_where_no_key_can_be_made(load: Load, tmp_path: Path) -> None:
    """Without a folder to write to it says so and does the rest; it stops where the realm is to sign."""
    nowhere = tmp_path / "file"
    nowhere.touch()
    wanted, (line,) = wanted_realm(load(**WHOLE, DATA_DIR=str(nowhere)), create_realm=False)
    assert wanted.grant is None
    assert line.startswith("WARNING, not changed: no assertion key can be made")
    with pytest.raises(ConfigurationError, match="the assertion key cannot be made"):
        wanted_realm(load(**WHOLE, DATA_DIR=str(nowhere), ISSUER_KIND="keycloak"), create_realm=False)
