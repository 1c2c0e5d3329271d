from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from keystile.ceilings import check_within, inherited
from keystile.errors import RightsError
from keystile.restrictions import Policy
from keystile.rights import Caller, CallerKind, Role
from unit.builders import DAY, NOW, a_record

POLICY = Policy(
    scopes=("read", "keys:write"),
    audiences=("https://mcp.example.com/mcp",),
    projects=("p", "q"),
    tenant="t",
    requests_per_hour=10,
    allowed_ips=("10.0.0.0/8",),
)
RECORD = a_record(policy=POLICY, expires_at=NOW + DAY)
KEY = Caller(kind=CallerKind.KEY, actor="key:k", subject="owner-1", ceiling=RECORD)
USER = Caller(kind=CallerKind.REALM_USER, actor="realm:alice", subject="owner-1")


def beyond(before: Any = None, **changes: Any) -> frozenset[str]:  # noqa: ANN401 - fields
    """Return what a request with these changes to the key's own policy has too much of."""
    expires_at, environment = changes.pop("expires_at", NOW + DAY), changes.pop("environment", "live")
    try:
        check_within(KEY, POLICY.changed(changes), expires_at, environment, before=before)
    except RightsError as error:
        return frozenset(name for name in error.fields if name in str(error))  # told in words too
    return frozenset()


def test_key_gives_what_it_has() -> None:
    """A key may issue one just like itself, and any that may less."""
    assert beyond() == frozenset()
    assert beyond(scopes=("read",), projects=("q",), requests_per_hour=1, allowed_ips=("10.1.0.0/16",)) == frozenset()
    assert beyond(expires_at=NOW) == frozenset()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scopes", ("read", "write")),
        ("scopes", ("keys:admin",)),
        ("audiences", ("https://other.example.com",)),
        ("projects", ()),
        ("projects", ("r",)),
        ("tenant", ""),
        ("tenant", "u"),
        ("requests_per_hour", None),
        ("requests_per_hour", 11),
        ("allowed_ips", ()),
        ("allowed_ips", ("0.0.0.0/0",)),
        ("expires_at", None),
        ("expires_at", NOW + 2 * DAY),
        ("environment", "test"),
    ],
)
def test_key_gives_no_more_than_it_has(field: str, value: object) -> None:
    """Scopes, audiences, projects, tenant, addresses, expiry, limits and environment: the field is named."""
    assert beyond(**{field: value}) == {field}


def test_people_have_no_ceiling() -> None:
    """What a person may give is for the table of rights to say."""
    check_within(USER, Policy(scopes=("anything",)), None, "test")


def test_key_that_never_expires_may_give_the_same() -> None:
    """No end is later than never."""
    check_within(replace(KEY, ceiling=replace(RECORD, expires_at=None)), POLICY, None, "live")


def test_change_may_leave_what_it_does_not_widen() -> None:
    """A key narrows another that may more than itself, and gives that one nothing more."""
    wide = a_record(policy=POLICY.changed({"scopes": ("read", "write", "x"), "requests_per_hour": None}))
    assert beyond(wide, scopes=("read", "write"), requests_per_hour=None, expires_at=None) == frozenset()
    assert beyond(wide, scopes=("read", "y"), requests_per_hour=None) == {"scopes"}
    short = replace(wide, expires_at=NOW)
    assert beyond(short, scopes=("read",), expires_at=NOW + 2 * DAY) == {"expires_at"}


def test_new_key_starts_from_what_restricts_its_maker() -> None:
    """Limits, tenant and addresses are handed down; scopes and audiences only when asked for."""
    start = inherited(KEY)
    assert (start.scopes, start.audiences) == ((), ())
    assert (start.tenant, start.requests_per_hour, start.allowed_ips) == ("t", 10, ("10.0.0.0/8",))
    check_within(KEY, start, NOW + DAY, "live")
    assert inherited(USER) == Policy()


def test_tenant_admin_may_start_in_its_tenant() -> None:
    """For a person who administers a tenant, a new key in it is no change of tenant; for others it is."""
    admin = replace(USER, roles=frozenset({Role.TENANT_ADMIN}), tenants=frozenset({"t"}))
    assert inherited(admin, "t") == Policy(tenant="t")
    assert inherited(admin, "u") == inherited(admin) == Policy()
    member = replace(USER, tenants=frozenset({"t"}))
    assert inherited(member, "t") == inherited(USER, "t") == Policy()
    assert inherited(KEY, "u").tenant == "t"
