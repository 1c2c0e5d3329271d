from __future__ import annotations

import time
from typing import TYPE_CHECKING

import jwt
import pytest

from keystile.adapters.signing.assertions import (
    Assertions,
    assertions_from,
    load_assertion_key,
    make_assertion_key,
    public_pem,
)
from keystile.errors import CannotTellError, ConfigurationError
from keystile.settings import IssuerKind
from keystile.wiring import check_files, open_signing_keys
from unit.builders import ISSUER
from unit.served import settings_in

if TYPE_CHECKING:
    from pathlib import Path

REALM = "https://id.example.com/realms/r"


def test_assertion_key_is_in_no_key_set(tmp_path: Path) -> None:
    """DESIGN 7: a key of its own, never shown in the JWKS, though it lies below the folder of the signing keys."""
    settings = settings_in(tmp_path)
    made = make_assertion_key(settings.assertion_dir)
    assert settings.assertion_dir.is_relative_to(settings.signing_dir)
    shown = open_signing_keys(settings).issuer.jwks()["keys"]
    assert len(shown) == 1
    assert made.kid not in {key["kid"] for key in shown}


def test_assertion_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    """Whoever comes second reads what the first made; nobody else on the machine can."""
    first = make_assertion_key(tmp_path / "assertions")
    assert (
        make_assertion_key(tmp_path / "assertions").kid == first.kid == load_assertion_key(tmp_path / "assertions").kid
    )
    (path,) = (tmp_path / "assertions").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_server_makes_no_assertion_key(tmp_path: Path) -> None:
    """One that the realm was never told of would sign nothing it takes: the start says what to run instead."""
    settings = settings_in(tmp_path).model_copy(update={"issuer_kind": IssuerKind.KEYCLOAK})
    with pytest.raises(ConfigurationError, match="keystile keycloak setup"):
        check_files(settings.model_copy(update={"peppers": None}))
    assert not settings.assertion_dir.exists()


def test_assertion_is_for_the_realm_and_one_request(tmp_path: Path) -> None:
    """RFC 7523, section 3: issuer, subject, one audience, a near end; and a name that no other assertion has."""
    key = make_assertion_key(tmp_path)
    assertions = Assertions(key, issuer=f"{ISSUER}/assertions", audience=REALM, clock=time.time)
    read = [
        jwt.decode(
            assertions.about("owner-1"), public_pem(key), ["ES256"], audience=REALM, issuer=f"{ISSUER}/assertions"
        )
        for _ in range(2)
    ]
    assert {claims["sub"] for claims in read} == {"owner-1"}
    assert all(0 < claims["exp"] - claims["iat"] <= 60 for claims in read)
    assert read[0]["jti"] != read[1]["jti"]
    assert "PRIVATE" not in public_pem(key)


def test_who_only_stops_keys_needs_no_assertion_key(tmp_path: Path) -> None:
    """The key is asked for with the first assertion: until setup made it nobody can tell, and then it is read once."""
    about = assertions_from(tmp_path / "assertions", issuer=ISSUER, audience=REALM, clock=time.time)
    with pytest.raises(CannotTellError, match="keystile keycloak setup"):
        about("owner-1")
    key = make_assertion_key(tmp_path / "assertions")
    kids = [jwt.get_unverified_header(about("owner-1"))["kid"]]
    next((tmp_path / "assertions").iterdir()).unlink()
    assert [*kids, jwt.get_unverified_header(about("owner-1"))["kid"]] == [key.kid, key.kid]


def test_assertion_goes_by_the_realm_s_clock(tmp_path: Path) -> None:
    """A clock of ours that is wrong by an hour makes no assertion that the realm takes for an old one."""
    key = make_assertion_key(tmp_path)
    text = Assertions(key, issuer=ISSUER, audience=REALM, clock=lambda: 5_000.7).about("owner-1")
    assert jwt.decode(text, options={"verify_signature": False})["iat"] == 5_000
