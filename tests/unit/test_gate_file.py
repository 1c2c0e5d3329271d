"""`KEYSTILE_GATES`: what may stand in the file, and how everything that may not is told."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.cli.gate_findings import findings
from keystile.gates import MOST_GATES, IdentityHeaders, read_gates
from unit.environments import KEYCLOAK, Load, fault

if TYPE_CHECKING:
    from pathlib import Path

ORDERS = "https://orders.example.com"


def gate(name: str = "orders", **fields: str) -> str:
    """Return one gate in TOML; *fields* are TOML already."""
    lines = {"audience": f'"{ORDERS}"', **fields}
    return "\n".join([f"[gates.{name}]", *(f"{key} = {value}" for key, value in lines.items()), ""])


def faults(text: str) -> list[str]:
    gates, told = read_gates(text)
    assert bool(told) is not bool(gates)
    return told


def at(folder: Path, text: str) -> str:
    path = folder / "gates.toml"
    path.write_text(text)
    return str(path)


def test_everything_but_the_audience_may_be_left_out() -> None:
    """A gate needs an audience; the rest is as at the verify door."""
    (orders,) = read_gates(gate())[0].values()
    assert (orders.audience, orders.scopes, orders.answers, orders.method_and_path) == (ORDERS, (), "plain", None)
    assert (orders.cache, orders.headers) == (timedelta(0), IdentityHeaders())
    assert read_gates("") == ({}, [])


def test_every_field_is_read() -> None:
    """What the file says is what the gate is."""
    text = gate(
        "b-2_x",
        scopes='["orders:read", "b"]',
        answers='"nginx"',
        method_and_path='"path"',
        cache='"5s"',
        headers='{subject = "X-User", actor = "Remote-Actor"}',
    )
    read = read_gates(text)[0]["b-2_x"]
    assert (read.scopes, read.answers, read.method_and_path) == (("orders:read", "b"), "nginx", "path")
    assert read.cache == timedelta(seconds=5)
    assert read.headers.names[0] == "X-User"
    assert read.headers.names[1:] == (
        "X-Auth-Username",
        "X-Auth-Key-Id",
        "X-Auth-Scope",
        "X-Auth-Tenant",
        "Remote-Actor",
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("audience", '""'),
        ("audience", '"orders"'),
        ("audience", '"https://a.example.com#x"'),
        ("audience", "1"),
        ("resource_metadata", '"orders"'),
        ("resource_metadata", '"https://a.example.com/\\""'),
        ("resource_metadata", '"urn:example:orders"'),
        ("scopes", '"orders:read"'),
        ("scopes", '["a b"]'),
        ("scopes", '["a\\""]'),
        ("scopes", '["introspect"]'),
        ("scopes", '["keys:admin"]'),
        ("scopes", "[1]"),
        ("scopes", str([f"s{number}" for number in range(21)])),
        ("answers", '"envoy"'),
        ("method_and_path", '"forwarded"'),
        ("cache", '"61s"'),
        ("cache", '"a while"'),
        ("cache", "true"),
        ("cache", "-1"),
        ("headers", '"X-User"'),
        ("audiance", f'"{ORDERS}"'),
    ],
)
def test_a_value_that_cannot_be_names_its_gate_and_field(field: str, value: str) -> None:
    """A wrong value, or a field nobody knows, is told by its place."""
    (told,) = faults(gate(**{field: value}))
    assert told.startswith(f"gates.orders.{field}")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "X User",
        "X_User",
        "X-Us\u00e9r",
        "X-User:",
        "1X",
        "X" * 65,
        "Authorization",
        "authorization",
        "Proxy-Authorization",
        "Connection",
        "Transfer-Encoding",
        "TE",
        "Content-Length",
        "Host",
        "Cookie",
        "X-API-Key",
        "X-Forwarded-For",
        "X-Original-URI",
        "X-Accel-Redirect",
        "Cache-Control",
        "X-Auth-Status",
        "RateLimit-Policy",
    ],
)
def test_an_identity_goes_into_no_header_with_another_meaning(name: str) -> None:
    """A hop-by-hop header, a credential, or one that a gateway obeys is refused, and so is what is no name."""
    (told,) = faults(gate(headers=f'{{tenant = "{name}"}}'))
    assert told.startswith("gates.orders.headers.tenant: ")


@pytest.mark.parametrize(
    "headers", ['{subject = "x-auth-tenant"}', '{subject = "X-User", actor = "x-USER"}', '{usr = "X-User"}']
)
def test_two_identities_never_share_a_header(headers: str) -> None:
    """Names are compared as HTTP does; and an identity we do not tell is no field."""
    (told,) = faults(gate(headers=headers))
    assert told.startswith("gates.orders.headers")


@pytest.mark.parametrize(
    "name", ["nginx", "Orders", "or.ders", "or ders", "-orders", "..", "o/r", "o%2fr", "", "o" * 64]
)
def test_a_gate_s_name_is_plain(name: str) -> None:
    """A name that a server in front could read in two ways, or that is built in, is none."""
    (told,) = faults(gate(f'"{name}"'))
    assert told.startswith("gates.")
    assert "no name of a gate" in told or "built in" in told


def test_there_are_not_too_many() -> None:
    """The number of gates is bounded."""
    text = "".join(gate(f"g{number}") for number in range(MOST_GATES + 1))
    assert "at most 100" in faults(text)[0]
    assert len(read_gates(text.replace(gate("g7"), ""))[0]) == MOST_GATES


@given(text=st.text(max_size=40) | st.builds(lambda value: gate(cache=value), st.text(max_size=12)))
def test_any_file_is_read_or_told(text: str) -> None:
    """Whatever stands in the file, there are gates or faults, and no other error."""
    gates, told = read_gates(text)
    assert not (gates and told)


def test_every_fault_of_the_file_is_told_with_the_other_settings(load: Load, tmp_path: Path) -> None:
    """Whoever mends settings sees all that is wrong at once, each gate by its name."""
    text = gate("a", audience='"x"', colour='"red"') + gate("b", scopes='["a b"]') + "[gates.c]\n[other]\n"
    told = fault(load, GATES=at(tmp_path, text), PORT="eighty", TOKEN_TTL="2h")
    for part in ("gates.a.audience", "gates.a.colour", "gates.b.scopes.0", "gates.c.audience: it is needed", "other"):
        assert f"KEYSTILE_GATES: {part}" in told
    assert "KEYSTILE_PORT" in told
    assert "KEYSTILE_TOKEN_TTL" in told


def test_a_file_that_cannot_be_read_stops_the_start(load: Load, tmp_path: Path) -> None:
    """Missing, a folder, not UTF-8, too large, or no TOML: nothing is served as if there were no gates."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for path in (tmp_path / "none", tmp_path, binary, at(tmp_path, "#" * 262_145)):
        assert f"KEYSTILE_GATES: {path} cannot be read" in fault(load, GATES=str(path))
    assert "line 1" in fault(load, GATES=at(tmp_path, "[gates\n"))
    assert load(GATES="").configured_gates == {}


@pytest.mark.parametrize(
    "audience",
    [
        "http://127.0.0.1:8400/sts",
        "http://127.0.0.1:8400/sts/api/v1",
        "https://id.example.com/realms/keystile",
        "https://id.example.com/realms/keystile/account",
    ],
)
def test_no_gate_is_for_whoever_makes_more_of_a_jwt(load: Load, tmp_path: Path, audience: str) -> None:
    """The issuer (exchange), the API (keys) and the realm never get JWTs by way of a gateway."""
    text = gate(audience=f'"{audience}"') + gate("fine")
    told = fault(load, **{**KEYCLOAK, "GATES": at(tmp_path, text)})
    assert "KEYSTILE_GATES: gates.orders.audience" in told
    assert "gates.fine" not in told


def test_what_was_checked_is_what_is_used(load: Load, tmp_path: Path) -> None:
    """The file is read once: a change while the server runs changes nothing."""
    path = at(tmp_path, gate())
    settings = load(GATES=path)
    at(tmp_path, "[gates")
    assert list(settings.configured_gates) == ["orders"]


def test_doctor_names_gates_that_refuse_everybody(load: Load, tmp_path: Path) -> None:
    """An audience or a scope that no key may have is found, with the setting that mends it."""
    path = at(tmp_path, gate(scopes='["read"]'))
    assert findings(load()) == []
    assert [found.what for found in findings(load(GATES=path))] == ["1 configured gates: orders"]
    assert findings(load(GATES=path, AUDIENCES=ORDERS, SCOPES="read"))[0].ok
    wrong = findings(load(GATES=path, AUDIENCES="https://other.example.com", SCOPES="write"))
    assert [(found.ok, found.fix) for found in wrong] == [
        (False, "add it to KEYSTILE_AUDIENCES"),
        (False, "add it to KEYSTILE_SCOPES"),
    ]
    assert all("the gate orders" in found.what for found in wrong)
