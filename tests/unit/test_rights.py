"""Who may do what, written down once more and apart from the table: every kind of caller, action and relation."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.restrictions import Policy
from keystile.rights import (
    ADMIN_FIELDS,
    RESERVED,
    Action,
    Caller,
    CallerKind,
    Relation,
    Role,
    allows,
    changed_fields,
    denied_fields,
    is_impersonation,
    relations,
    widened_fields,
)
from unit.builders import DAY, NOW, a_record

if TYPE_CHECKING:
    from collections.abc import Iterable

OWNER_BOTH = {Role.OWNER_READ, Role.OWNER_WRITE}


def caller(kind: CallerKind, *roles: Role, tenants: Iterable[str] = ()) -> Caller:
    """Return a caller who acts for alice, but for those who act for nobody."""
    nobody = kind in (CallerKind.ADMIN_KEY, CallerKind.OPERATOR)
    return Caller(
        kind=kind,
        actor="test",
        subject="" if nobody else "owner-1",
        roles=frozenset(roles),
        tenants=frozenset(tenants),
        ceiling=a_record() if kind in (CallerKind.KEY, CallerKind.JWT) else None,
    )


CALLERS = {
    "user": caller(CallerKind.REALM_USER, *OWNER_BOTH),
    "tenant-admin": caller(CallerKind.REALM_USER, *OWNER_BOTH, Role.TENANT_ADMIN, tenants=["t"]),
    "key-admin": caller(CallerKind.REALM_USER, *OWNER_BOTH, Role.ADMIN),
    "read": caller(CallerKind.KEY, Role.OWNER_READ),
    "write": caller(CallerKind.KEY, Role.OWNER_WRITE),
    "admin": caller(CallerKind.KEY, Role.ADMIN),
    "t-admin": caller(CallerKind.KEY, Role.TENANT_ADMIN, tenants=["t"]),
    "jwt-read": caller(CallerKind.JWT, Role.OWNER_READ),
    "jwt-write": caller(CallerKind.JWT, Role.OWNER_WRITE),
    "jwt-admin": caller(CallerKind.JWT, Role.ADMIN),
    "admin-key": caller(CallerKind.ADMIN_KEY, Role.ADMIN),
    "cli": Caller.operator("cli:ada"),
    "nobody": caller(CallerKind.JWT),
}

# Per caller: own, tenant, any. `.`: none of the three; letters: o own, t tenant, a any.
EXPECTED = """
             user tenant-admin key-admin read write admin t-admin jwt-read jwt-write jwt-admin admin-key cli nobody
list         o    ot           ota       o    .     ota   t       o        .         ota       ota       ota .
show         o    ot           ota       o    .     ota   t       o        .         ota       ota       ota .
usage        o    ot           ota       o    .     ota   t       o        .         ota       ota       ota .
events       o    ot           ota       o    .     ota   t       o        .         ota       ota       ota .
verify_batch o    ot           ota       o    .     ota   t       o        .         ota       ota       ota .
issue        o    o            ota       .    o     ota   .       .        o         ota       ota       ota .
rotate       o    o            ota       .    o     ota   .       .        o         ota       ota       ota .
change       o    ot           ota       .    o     ota   t       .        o         ota       ota       ota .
suspend      o    ot           ota       .    o     ota   t       .        o         ota       ota       ota .
resume       o    ot           ota       .    o     ota   t       .        o         ota       ota       ota .
revoke       o    ot           ota       .    o     ota   t       .        o         ota       ota       ota .
revoke_all   o    o            ota       .    o     ota   .       .        o         ota       ota       ota .
report_usage o    ot           ota       .    o     ota   t       .        o         ota       ota       ota .
impersonate  .    .            ta        .    .     ta    .       .        .         ta        ta        ta  .
whoami       o    o            o         o    o     o     o       o        o         o         o         o   .
"""
_HEAD, *_ROWS = (line.split() for line in EXPECTED.strip().splitlines())
GRID = {row[0]: dict(zip(_HEAD, row[1:], strict=True)) for row in _ROWS}
LETTERS = {Relation.OWN: "o", Relation.TENANT: "t", Relation.ANY: "a"}


def test_the_grid_names_every_action_and_caller() -> None:
    """Nothing that can be done or be called by is left out of what follows."""
    assert set(GRID) == {action.value for action in Action}
    assert set(_HEAD) == set(CALLERS)
    assert {each.kind for each in CALLERS.values()} == set(CallerKind)


@pytest.mark.parametrize("relation", Relation)
@pytest.mark.parametrize("name", CALLERS)
@pytest.mark.parametrize("action", Action)
def test_every_caller_may_do_just_what_the_grid_says(action: Action, name: str, relation: Relation) -> None:
    """Each kind of caller, each action, each relation: allowed if and only if it is written down."""
    assert allows(CALLERS[name], action, relation) == (LETTERS[relation] in GRID[action.value][name])


@given(roles=st.sets(st.sampled_from(Role)), action=st.sampled_from(Action))
def test_without_a_relation_nothing_is_allowed(roles: set[Role], action: Action) -> None:
    """A key that is nothing to the caller is out of reach."""
    assert not allows(caller(CallerKind.REALM_USER, *roles), action)


@given(roles=st.sets(st.sampled_from(Role)), held=st.sets(st.sampled_from(Relation)), action=st.sampled_from(Action))
def test_rights_add_up_and_never_cancel(roles: set[Role], held: set[Relation], action: Action) -> None:
    """More roles or a closer relation never take a right away."""
    fewer = allows(caller(CallerKind.REALM_USER, *roles), action, *held)
    assert not fewer or allows(caller(CallerKind.REALM_USER, *Role), action, *held)
    assert not fewer or allows(caller(CallerKind.REALM_USER, *roles), action, *Relation)


@pytest.mark.parametrize("action", [Action.ISSUE, Action.ROTATE])
def test_tenant_admin_gets_keys_for_itself_alone(action: Action) -> None:
    """In its tenant, a tenant admin's key makes secrets of its own owner's keys, and of nobody else's."""
    tenant_admin = CALLERS["t-admin"]
    assert allows(tenant_admin, action, Relation.OWN, Relation.TENANT, Relation.ANY)
    assert not allows(tenant_admin, action, Relation.TENANT, Relation.ANY)
    assert not allows(tenant_admin, action, Relation.OWN, Relation.ANY)


@pytest.mark.parametrize("action", Action)
def test_a_secret_for_somebody_else_is_impersonation(action: Action) -> None:
    """Issuing and rotating hand out a secret; whose it is says whether that is acting as another."""
    hands_out = action in (Action.ISSUE, Action.ROTATE)
    assert is_impersonation(action, Relation.TENANT, Relation.ANY) is hands_out
    assert is_impersonation(action, Relation.ANY) is hands_out
    assert not is_impersonation(action, Relation.OWN, Relation.ANY)


@pytest.mark.parametrize(
    ("owner_id", "tenant", "held"),
    [
        ("owner-1", "", {Relation.OWN, Relation.ANY}),
        ("owner-1", "t", set(Relation)),
        ("owner-2", "t", {Relation.TENANT, Relation.ANY}),
        ("owner-2", "u", {Relation.ANY}),
        ("owner-2", "", {Relation.ANY}),
        ("", "", {Relation.ANY}),
    ],
)
def test_relations_of_a_key(owner_id: str, tenant: str, held: set[Relation]) -> None:
    """Own, of the same tenant, or just any: all that hold."""
    assert set(relations(CALLERS["tenant-admin"], owner_id, tenant)) == held


@pytest.mark.parametrize("name", ["admin-key", "cli"])
def test_who_acts_for_nobody_owns_nothing(name: str) -> None:
    """A key without an owner id, were there one, is not the admin key's own; nor is no tenant a tenant."""
    assert relations(CALLERS[name], "", "") == (Relation.ANY,)


ALL_FIELDS = frozenset(Policy.__dataclass_fields__) | {RESERVED, "expires_at"}


def test_owner_sets_no_field_of_an_admin() -> None:
    """Level, tenant, limits, who may act, and reserved scopes are not an owner's to set, not even to less."""
    for name in ("user", "write", "jwt-write"):
        assert denied_fields(CALLERS[name], ALL_FIELDS, (), Relation.OWN, Relation.ANY) == ADMIN_FIELDS & ALL_FIELDS


def test_newcomer_hands_on_reserved_scopes_and_nothing_else_of_an_admin() -> None:
    """Who registered without an administrator gives its next key what this one has; more is refused as ever."""
    newcomer = caller(CallerKind.JWT, *OWNER_BOTH, Role.NEWCOMER)
    denied = denied_fields(newcomer, ALL_FIELDS, ["scopes"], Relation.OWN, Relation.ANY)
    assert denied == ((ADMIN_FIELDS & ALL_FIELDS) - {RESERVED}) | {"scopes"}
    assert not allows(caller(CallerKind.JWT, Role.NEWCOMER), Action.ISSUE, Relation.ANY)


def test_limits_are_an_admins() -> None:
    """Every number that is counted against is among the fields of an admin."""
    assert {name for name in ALL_FIELDS if name.endswith(("_per_hour", "_per_day", "_per_month"))} <= ADMIN_FIELDS
    assert {"level", "tenant", "may_act", "act_depth", RESERVED} <= ADMIN_FIELDS


@given(wider=st.sets(st.sampled_from(sorted(ALL_FIELDS))), changed=st.sets(st.sampled_from(sorted(ALL_FIELDS))))
def test_owner_widens_nothing(wider: set[str], changed: set[str]) -> None:
    """Whatever allows more than before is denied to the owner, beside the fields of an admin."""
    denied = denied_fields(CALLERS["user"], changed, wider, Relation.OWN, Relation.ANY)
    assert denied == wider | (changed & ADMIN_FIELDS)


@pytest.mark.parametrize("name", ["key-admin", "admin", "jwt-admin", "admin-key", "cli"])
@pytest.mark.parametrize("relation", Relation)
def test_admin_sets_all_fields(name: str, relation: Relation) -> None:
    """An admin may set and widen anything; what a key may give is for its ceiling to say."""
    assert denied_fields(CALLERS[name], ALL_FIELDS, ALL_FIELDS, relation) == frozenset()


def test_tenant_admin_keeps_keys_in_the_tenant() -> None:
    """Within its tenant it sets levels and limits; it neither moves a key out, gives reserved scopes, nor lets act."""
    here = (Relation.TENANT, Relation.ANY)
    withheld = {"tenant", "may_act", "act_depth", RESERVED}
    assert denied_fields(CALLERS["tenant-admin"], ALL_FIELDS, {"scopes"}, *here) == withheld
    own_outside = denied_fields(CALLERS["tenant-admin"], ALL_FIELDS, {"scopes"}, Relation.OWN, Relation.ANY)
    assert own_outside == (ADMIN_FIELDS & ALL_FIELDS) | {"scopes"}


@pytest.mark.parametrize("name", ["read", "jwt-read", "nobody"])
def test_who_may_change_nothing_may_set_nothing(name: str) -> None:
    """Without a right to change, every field is denied."""
    assert denied_fields(CALLERS[name], {"scopes"}, {"projects"}, *Relation) == {"scopes", "projects"}


def test_changed_fields_tell_reserved_scopes_apart() -> None:
    """A reserved scope that comes or goes is a change of its own."""
    before = Policy(scopes=("read", "introspect"), level="user")
    assert changed_fields(before.changed({"scopes": ("introspect",)}), before) == {"scopes"}
    assert changed_fields(before.changed({"scopes": ("read", "introspect", "keys:read")}), before) == {
        "scopes",
        RESERVED,
    }
    assert changed_fields(before.changed({"scopes": ("read",), "level": ""}), before) == {"scopes", RESERVED, "level"}
    assert changed_fields(before, before) == frozenset()


def test_widened_fields_see_a_later_end_too() -> None:
    """More scopes, or a longer life, is more than before; less is not."""
    before = Policy(scopes=("read",))
    assert widened_fields(Policy(scopes=("read", "write")), before, NOW, NOW) == {"scopes"}
    assert widened_fields(Policy(), before, NOW + DAY, NOW) == {"expires_at"}
    assert widened_fields(before, before, None, NOW) == {"expires_at"}
    assert widened_fields(before, before, NOW, None) == frozenset()
    assert widened_fields(before, before) == frozenset()


def test_every_pair_of_roles_is_the_sum_of_both() -> None:
    """What two roles may do is what each may, and nothing springs up between them."""
    for one, other in combinations(Role, 2):
        for action in set(Action) - {Action.ISSUE, Action.ROTATE}:
            for relation in Relation:
                both = allows(caller(CallerKind.KEY, one, other), action, relation)
                each = [allows(caller(CallerKind.KEY, role), action, relation) for role in (one, other)]
                assert both == any(each)
