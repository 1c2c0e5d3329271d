from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keystile.http.metadata import metadata
from keystile.realm_scopes import BUILT_IN, may_be_asked
from unit.environments import KEYCLOAK, SECRET, Load, fault

if TYPE_CHECKING:
    from keystile.settings import Settings

SIGNED = {
    **KEYCLOAK,
    "ISSUER_KIND": "keycloak",
    "ISSUER": "https://keys.example.com/sts",
    "KEYCLOAK_WRITER_SECRET": SECRET,
    "KEYCLOAK_TOKENS_SECRET": SECRET,
}


def described(settings: Settings) -> dict[str, object]:
    return metadata(settings.issuer, ["client_credentials"], settings.catalogue, settings.jwks_uri)


def test_keystile_signs_unless_told_otherwise(load: Load) -> None:
    """The default is ours; another word than the two is refused."""
    assert load().realm_signs is False
    assert load(**KEYCLOAK).jwks_uri == "http://127.0.0.1:8400/sts/jwks.json"
    assert "KEYSTILE_ISSUER_KIND" in fault(load, ISSUER_KIND="both")


def test_metadata_leads_to_the_keys_that_verify(load: Load) -> None:
    """RFC 8414: `issuer` stays what is configured, byte for byte; `jwks_uri` is the realm's where the realm signs."""
    assert described(load(**KEYCLOAK))["jwks_uri"] == "http://127.0.0.1:8400/sts/jwks.json"
    document = described(load(**SIGNED))
    assert document["issuer"] == "https://keys.example.com/sts"
    assert document["jwks_uri"] == "https://id.example.com/realms/keystile/protocol/openid-connect/certs"
    assert document["token_endpoint"] == "https://keys.example.com/sts/token"


def test_assertions_have_an_issuer_of_their_own(load: Load) -> None:
    """No token of ours, were it signed by that key, could be taken for an assertion, and the other way round."""
    settings = load(**SIGNED)
    assert settings.assertion_issuer == "https://keys.example.com/sts/assertions"
    assert settings.assertion_issuer not in (settings.issuer, settings.realm_issuer)


def test_default_audience_is_mapped_too(load: Load) -> None:
    """What may always be asked for is what set-up maps first."""
    assert load(**SIGNED, AUDIENCES="https://a.example.com").mapped_audiences == (
        "https://keys.example.com/sts/default",
        "https://a.example.com",
    )


def test_what_the_realm_needs_is_told_at_start(load: Load) -> None:
    """All that is missing is named at once: the store, and the secrets of the clients that ask and that link."""
    assert "KEYSTILE_ISSUER_KIND=keycloak needs KEYSTILE_STORE=keycloak" in fault(load, ISSUER_KIND="keycloak")
    told = fault(load, **KEYCLOAK, ISSUER_KIND="keycloak")
    for name in ("TOKENS_SECRET", "WRITER_SECRET"):
        assert f"KEYSTILE_KEYCLOAK_{name} is needed with KEYSTILE_ISSUER_KIND=keycloak" in told


def test_test_keys_are_no_keys_of_the_realm(load: Load) -> None:
    """Its tokens have no `env`: to a service a test key would be a live one."""
    assert "KEYSTILE_ACCEPT_TEST_KEYS" in fault(load, **SIGNED, ACCEPT_TEST_KEYS="true")


@pytest.mark.parametrize(
    "scope", ["offline_access", "openid", "roles", "keystile", "aud:https://a.example.com", "organization:acme"]
)
def test_scope_with_a_meaning_in_keycloak_is_told(load: Load, scope: str) -> None:
    """A catalogue with such a scope would give keys more than a scope; with Keystile's own tokens it is just a word."""
    assert scope in load(**KEYCLOAK, SCOPES=scope).catalogue
    assert f"KEYSTILE_SCOPES: {scope!r} has a meaning" in fault(load, **SIGNED, SCOPES=f"read,introspect,{scope}")
    assert load(**SIGNED, SCOPES="read,introspect").realm_scopes == ("read",)


def test_audience_that_keycloak_could_not_name_is_told(load: Load) -> None:
    """The name of a client scope has 255 characters at most."""
    assert "KEYSTILE_AUDIENCES" in fault(load, **SIGNED, AUDIENCES="https://a.example.com/" + "a" * 240)


def test_only_plain_scopes_may_be_asked_for() -> None:
    """Reserved scopes are for our own JWTs, Keycloak's own for nobody."""
    assert may_be_asked("read")
    assert not any(map(may_be_asked, (*BUILT_IN, "keys:read", "keys:admin", "introspect", "aud:x", "organization:x")))
