from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from keystile.durations import parse_duration
from keystile.errors import ConfigurationError
from keystile.settings import Settings, load_settings, unknown_settings
from unit.environments import KEYCLOAK, SECRET, Load, fault


def test_defaults_need_nothing(load: Load) -> None:
    """Without any variable there is an embedded deployment on loopback."""
    settings = load()
    assert (settings.store, settings.host, settings.port) == ("embedded", "127.0.0.1", 8400)
    assert settings.issuer == "http://127.0.0.1:8400/sts"
    assert settings.default_audience == "http://127.0.0.1:8400/sts/default"
    assert (settings.accept_test_keys, settings.trusted_proxies) == (True, ())
    assert settings.signing_dir == Path(".keystile/signing-keys")
    assert (settings.failures_per_minute, settings.max_keys_per_owner) == (20, 5)


def test_issuer_follows_the_port_unless_set(load: Load) -> None:
    """Another port is another default issuer; a set one is kept byte for byte."""
    assert load(PORT="9000").issuer == "http://127.0.0.1:9000/sts"
    settings = load(ISSUER="https://ID.example.com:443/a/b")
    assert (settings.issuer, settings.issuer_path) == ("https://ID.example.com:443/a/b", "/a/b")
    assert settings.default_audience == "https://ID.example.com:443/a/b/default"


@pytest.mark.parametrize(
    "issuer",
    [
        "https://id.example.com",
        "https://id.example.com/",
        "https://id.example.com/sts/",
        "https://id.example.com/sts?x=1",
        "https://id.example.com/sts#x",
        "id.example.com/sts",
        "ftp://id.example.com/sts",
        "https:///sts",
        "nonsense",
    ],
)
def test_issuer_is_a_url_with_a_path(load: Load, issuer: str) -> None:
    """The issuer has a path, no trailing slash, no query and no fragment."""
    assert "KEYSTILE_ISSUER" in fault(load, ISSUER=issuer)


def test_every_fault_is_told_at_once(load: Load) -> None:
    """Whoever mends settings sees all that is wrong, not the first thing."""
    told = fault(
        load,
        PORT="eighty",
        WORKERS="0",
        SIGNING_ALG="HS256",
        STAMPS="maybe",
        TOKEN_TTL="2h",
        ISSUER="nonsense",
        TRUSTED_PROXIES="10.0.0.0/8,nonsense,10.0.0.0/99",
        STORE="keycloak",
        MAX_KEYS_PER_OWNER="51",
        CACHE_TTL="a while",
        FORWARDED_HEADERS="forwarded",
    )
    for name in ("FORWARDED_HEADERS", "PORT", "WORKERS", "SIGNING_ALG", "STAMPS", "MAX_KEYS_PER_OWNER", "CACHE_TTL"):
        assert f"KEYSTILE_{name} " in told
    for text in ("TOKEN_TTL is between", "ISSUER is an http", "nonsense is not a CIDR", "10.0.0.0/99 is not a CIDR"):
        assert text in told
    for name in ("KEYCLOAK_URL", "KEYCLOAK_READER_SECRET", "REDIS_URL", "PEPPERS"):
        assert f"KEYSTILE_{name} is needed" in told


def test_fault_of_a_secret_does_not_show_it(load: Load) -> None:
    """Neither the message nor what caused it repeats a value."""
    with pytest.raises(ConfigurationError) as refused:
        load(**{**KEYCLOAK, "PORT": SECRET, "KEYCLOAK_WRITER_SECRET": SECRET, "SIGNING_ALG": SECRET})
    assert refused.value.__cause__ is None
    assert SECRET not in str(refused.value)


def test_secret_is_not_printed(load: Load) -> None:
    """Printing all settings shows no secret."""
    settings = load(**KEYCLOAK)
    assert SECRET not in repr(settings)
    assert "pw@" not in repr(settings)
    assert "A" * 43 not in repr(settings)


def test_empty_means_unset(load: Load) -> None:
    """A variable that is set to nothing is as if it were not there."""
    variables = {name.upper(): "" for name in Settings.model_fields}
    assert load(**variables) == load_settings()


@pytest.mark.parametrize("content", [SECRET, f"{SECRET}\n", f"  {SECRET}  \n"])
def test_secret_may_come_from_a_file(load: Load, tmp_path: Path, content: str) -> None:
    """`…_FILE` names a file with the value; the variable itself comes first."""
    path = tmp_path / "secret"
    path.write_text(content)
    settings = load(KEYCLOAK_READER_SECRET_FILE=str(path), REDIS_URL_FILE=str(path), REDIS_URL="redis://127.0.0.1")
    assert settings.keycloak_reader_secret == SecretStr(SECRET)
    assert settings.redis_url == SecretStr("redis://127.0.0.1")


def test_unreadable_file_is_told_with_the_other_faults(load: Load, tmp_path: Path) -> None:
    """A file that cannot be read is named, and does not hide what else is wrong."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    told = fault(load, PEPPERS_FILE=str(tmp_path / "none"), REDIS_URL_FILE=str(binary), PORT="eighty")
    for name in ("KEYSTILE_PEPPERS_FILE", "KEYSTILE_REDIS_URL_FILE", "KEYSTILE_PORT"):
        assert name in told


def test_lists_are_separated_by_commas(load: Load) -> None:
    """Blanks and empty items are dropped."""
    settings = load(SCOPES=" read , write,,", TRUSTED_PROXIES="10.0.0.0/8,fd00::/8")
    assert settings.scopes == ("read", "write")
    assert settings.trusted_proxies == ("10.0.0.0/8", "fd00::/8")


@pytest.mark.parametrize(
    ("text", "length"),
    [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86_400), ("0", 0)],
)
def test_durations(text: str, length: int) -> None:
    """A number is seconds; a letter says otherwise."""
    assert parse_duration(text) == timedelta(seconds=length)


@given(text=st.text(max_size=12) | st.from_regex(r"\d{1,12}[smhdw]?", fullmatch=True))
def test_any_text_is_a_duration_or_none(text: str) -> None:
    """Up to nine digits and perhaps a unit are a duration, and nothing else is."""
    digits = text[:-1] if text[-1:] in tuple("smhd") else text
    is_one = digits.isascii() and digits.isdigit() and len(digits) <= 9
    assert (parse_duration(text) is not None) == is_one


@pytest.mark.parametrize("ttl", ["0", "61m", "2h", "-5", "1w"])
def test_jwts_live_between_a_second_and_an_hour(load: Load, ttl: str) -> None:
    """A life outside these bounds stops the start."""
    assert "KEYSTILE_TOKEN_TTL" in fault(load, TOKEN_TTL=ttl)


def test_verdicts_end_before_changes_are_forgotten(load: Load) -> None:
    """A verdict that outlived the memory of changes would bring a revoked key back: such settings stop the start."""
    assert load(CACHE_TTL="45m", STALE_TTL="45m").cache_ttl == timedelta(minutes=45)
    assert "KEYSTILE_CACHE_TTL" in fault(load, CACHE_TTL="2h", STALE_TTL="0")
    assert "KEYSTILE_STALE_TTL" in fault(load, CACHE_TTL="1m", STALE_TTL="1d")


def test_settings_do_not_change() -> None:
    """What was checked at the start is what is in force."""
    with pytest.raises(ValidationError):
        load_settings().port = 1


def test_unknown_variables_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error in a name is not silently ignored; names for people and scripts are."""
    ignored = ("KEYSTILE_URL", "KEYSTILE_MCP_URL", "KEYSTILE_PID", "KEYSTILE_PEPPERS_FILE", "KEYSTILE_API_KEY")
    for name in ("KEYSTILE_PROT", *ignored):
        monkeypatch.setenv(name, "x")
    assert unknown_settings() == ["KEYSTILE_PROT"]


def test_levels_are_checked_at_the_start(load: Load) -> None:
    """A level that cannot be read, or a default that is none of them, stops the start; so does another answer."""
    assert load().levels.startswith("user:1000/10000/300000/1000,tenant:")
    assert (load().default_level, load().limits_without_redis) == ("", "refuse")
    assert load(LEVELS="small:1/-/-/-", DEFAULT_LEVEL="small").default_level == "small"
    assert "KEYSTILE_LEVELS" in fault(load, LEVELS="user:1000")
    assert "'gold' is none of" in fault(load, LEVELS="small:1/-/-/-", DEFAULT_LEVEL="gold")
    assert "KEYSTILE_LIMITS_WITHOUT_REDIS" in fault(load, LIMITS_WITHOUT_REDIS="maybe")
