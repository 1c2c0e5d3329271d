from __future__ import annotations

import pytest

from keystile.catalogue import client_roles, parse_catalogue
from keystile.errors import ConfigurationError, RequestError
from unit.environments import KEYCLOAK, Load, fault


@pytest.mark.parametrize(
    ("entry", "scope", "needed"),
    [
        ("deploy", "deploy", ""),
        ("deploy@role:deployer", "deploy", "deployer"),
        ("ops@role:client:name", "ops", "client:name"),
        ("ops@role:https://shop.example.com:seller", "ops", "https://shop.example.com:seller"),
        ("ops@group:/ops/eu", "ops", "/ops/eu"),
        ("mail@example.com", "mail@example.com", ""),
        ("a:b@role:two words", "a:b", "two words"),
    ],
)
def test_entry_says_a_scope_and_what_it_needs(entry: str, scope: str, needed: str) -> None:
    """A scope alone, or bound to a role of the realm, of a client, or to a group."""
    assert parse_catalogue([entry]) == {scope: needed}


@pytest.mark.parametrize("entry", ["x@role:", "x@role:/ops", "x@group:ops", "x@group:", "@role:r", "keys:admin@role:r"])
def test_half_an_entry_is_a_fault(entry: str) -> None:
    """What looks bound and is not must not become a scope that everybody may have."""
    with pytest.raises(ConfigurationError):
        parse_catalogue([entry])


def test_scope_is_bound_once() -> None:
    """The same scope twice would leave open which of the two counts."""
    with pytest.raises(ConfigurationError, match="twice"):
        parse_catalogue(["a@role:r", "a"])


def test_scope_is_one_token() -> None:
    """A blank parts two scopes."""
    with pytest.raises(ConfigurationError):
        parse_catalogue(["a b"])
    with pytest.raises(RequestError):
        parse_catalogue(['"'])


def test_roles_of_clients_are_told_apart() -> None:
    """Set-up marks these, and no realm role or group."""
    catalogue = parse_catalogue(["a@role:r", "b@role:c:r", "d@group:/g:h", "e", "f@role:c:r"])
    assert client_roles(catalogue) == ("c:r",)


def test_bound_scopes_need_keycloak(load: Load) -> None:
    """Where owners have no roles, nobody could ever have such a scope."""
    assert "KEYSTILE_SCOPES" in fault(load, SCOPES="deploy@role:deployer")


def test_bound_scopes_on_keycloak(load: Load) -> None:
    """The catalogue is what the setting says."""
    assert load(**KEYCLOAK, SCOPES="a, b@role:r").catalogue == {"a": "", "b": "r"}


@pytest.mark.parametrize("key", ["short", "x" * 31, "x" * 257, "x" * 20 + " " + "x" * 20, "ü" * 40])
def test_admin_key_is_long_and_plain(load: Load, key: str) -> None:
    """A short one could be guessed, and one with blanks does not fit into a header."""
    assert "KEYSTILE_ADMIN_KEY" in fault(load, ADMIN_KEY=key)


def test_admin_key_may_come_from_a_file_and_is_not_shown(load: Load, tmp_path: object) -> None:
    """As for other secrets; unset means that the way in is closed."""
    path = f"{tmp_path}/admin-key"
    with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123 - a path in a setting
        file.write("x" * 32 + "\n")
    settings = load(ADMIN_KEY_FILE=path)
    assert settings.admin_key is not None
    assert settings.admin_key.get_secret_value() == "x" * 32
    assert "xxxx" not in repr(settings)


def test_no_admin_key_unless_set(load: Load) -> None:
    """Empty is unset."""
    assert load(ADMIN_KEY="").admin_key is None


def test_token_client_is_never_an_api_client(load: Load) -> None:
    """Its tokens stand for keys, and must not manage them."""
    assert "KEYSTILE_API_CLIENTS" in fault(load, **KEYCLOAK, API_CLIENTS="console,keystile-tokens")
    assert load(API_CLIENTS="console, cli").api_clients == ("console", "cli")


def test_realm_issuer_may_be_another_address(load: Load) -> None:
    """Keycloak behind a public name writes that into `iss`; both are the realm's, and never an audience of keys."""
    settings = load(**KEYCLOAK, REALM_ISSUER="https://login.example.com/realms/keystile")
    assert settings.realm_urls == (
        "https://login.example.com/realms/keystile",
        "https://id.example.com/realms/keystile",
    )
    assert load(REALM_ISSUER="").realm_urls == ("https://id.example.com/realms/keystile",)


def test_default_audience_is_not_the_apis(load: Load) -> None:
    """Every key may have a JWT for the default audience, so no endpoint of ours takes it."""
    told = fault(load, ISSUER="https://k.example.com/sts", DEFAULT_AUDIENCE="https://k.example.com/sts/api/v1")
    assert "KEYSTILE_DEFAULT_AUDIENCE" in told
