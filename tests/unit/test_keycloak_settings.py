from __future__ import annotations

import pytest

from unit.environments import KEYCLOAK, Load, fault


@pytest.mark.parametrize("url", ["http://id.example.com", "HTTP://id.example.com:8080/auth", "http://10.0.0.1"])
def test_plain_http_to_keycloak_stops_the_start(load: Load, url: str) -> None:
    """Secrets do not cross a network unencrypted unless somebody says so by name."""
    told = fault(load, **{**KEYCLOAK, "KEYCLOAK_URL": url})
    assert "KEYSTILE_KEYCLOAK_URL is not encrypted" in told


@pytest.mark.parametrize(
    "url",
    ["redis://redis.example.com", "redis://:pw@10.0.0.1:6379/0", "redis+sentinel://127.0.0.1:1,10.0.0.1:2/main"],
)
def test_plain_redis_stops_the_start(load: Load, url: str) -> None:
    """Nor do revocations: one node beyond loopback is enough."""
    assert "KEYSTILE_REDIS_URL is not encrypted" in fault(load, **{**KEYCLOAK, "REDIS_URL": url})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.8.8.8"])
@pytest.mark.parametrize("port", ["", ":8080"])
def test_loopback_may_be_plain(load: Load, host: str, port: str) -> None:
    """What stays on this machine needs no TLS."""
    urls = {"KEYCLOAK_URL": f"http://{host}{port}/auth", "REDIS_URL": f"redis://user:pw@{host}{port}/0"}
    assert load(**{**KEYCLOAK, **urls}).keycloak_url == f"http://{host}{port}/auth"


def test_plain_hosts_may_be_named(load: Load) -> None:
    """A host that is named may be reached unencrypted, and no other."""
    plain = {**KEYCLOAK, "KEYCLOAK_URL": "http://keycloak:8080", "REDIS_URL": "redis://:pw@redis:6379"}
    assert load(**plain, ALLOW_PLAIN_HTTP="keycloak,redis").allow_plain_http == ("keycloak", "redis")
    assert "KEYSTILE_REDIS_URL is not encrypted" in fault(load, **plain, ALLOW_PLAIN_HTTP="keycloak")


def test_test_keys_are_refused_on_keycloak_unless_wanted(load: Load) -> None:
    """The default depends on the store; a word from the operator counts."""
    assert load(**KEYCLOAK).accept_test_keys is False
    assert load(**KEYCLOAK, ACCEPT_TEST_KEYS="true").accept_test_keys is True


def test_realm_issuer_is_what_keycloak_writes(load: Load) -> None:
    """The realm's own issuer, which no JWT of ours may be for."""
    assert load().realm_issuer == ""
    assert load(**KEYCLOAK, KEYCLOAK_REALM="r").realm_issuer == "https://id.example.com/realms/r"


@pytest.mark.parametrize("below", ["", "/account", "?x"])
def test_default_audience_is_not_the_realm(load: Load, below: str) -> None:
    """The default audience is always allowed, so it must not be one that never is."""
    audience = f"https://id.example.com/realms/keystile{below}"
    assert "KEYSTILE_DEFAULT_AUDIENCE" in fault(load, **KEYCLOAK, DEFAULT_AUDIENCE=audience)
