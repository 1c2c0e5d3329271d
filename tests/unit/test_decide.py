from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.errors import Reason
from keystile.limits import Levels
from keystile.network import Facts
from keystile.policy import RESERVED_SCOPES, Rules, decide, held_scopes
from keystile.records import KeyRecord, Owner, Status
from keystile.restrictions import Policy
from unit.builders import NOW, a_record, an_owner, asked, rules


class Fault(NamedTuple):
    """What makes `decide` say *reason*: changes of record, owner, rules and request."""

    reason: Reason
    record: dict[str, Any] = {}  # noqa: RUF012 - never changed
    owner: dict[str, Any] = {}  # noqa: RUF012
    rules: dict[str, Any] = {}  # noqa: RUF012
    request: dict[str, Any] = {}  # noqa: RUF012


BOUND = Policy(allowed_ips=("203.0.113.0/24",), level="user")
SAID = Facts(address="203.0.113.9")

# In the order in which they are found: who fails two checks hears of the first.
FAULTS = [
    Fault(Reason.ID_MISMATCH, request={"client_id": "somebody"}),
    Fault(Reason.REVOKED, record={"status": Status.REVOKED, "revoked_at": NOW}),
    Fault(Reason.EXPIRED, record={"expires_at": NOW}),
    Fault(Reason.OWNER_DISABLED, owner={"enabled": False}),
    Fault(Reason.TEST_KEY, record={"environment": "test"}, rules={"accept_test_keys": False}),
    Fault(Reason.LEVEL_UNKNOWN, rules={"levels": Levels()}),
    Fault(Reason.POLICY_UNVERIFIABLE, record={"policy": replace(BOUND, require_tls=True)}),
    Fault(Reason.ADDRESS_DENIED, request={"facts": replace(SAID, address="198.51.100.1")}),
    Fault(Reason.AUDIENCE_DENIED, request={"audience": "https://other.example.com"}),
    Fault(Reason.SCOPE_DENIED, request={"scopes": ("write",)}),
]


def reason_for(*faults: Fault) -> Reason | None:
    together: list[dict[str, Any]] = [{}, {}, {}, {}]
    for fault in faults:
        together = [{**have, **more} for have, more in zip(together, fault[1:], strict=True)]
    record, owner, ruled, request = together
    record = {"policy": BOUND, **record}
    return decide(a_record(**record), an_owner(**owner), asked(rules(**ruled), **{"facts": SAID, **request}), NOW)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.reason.value)
def test_each_fault_alone_has_its_reason(fault: Fault) -> None:
    """One thing wrong gives one reason."""
    assert reason_for() is None
    assert reason_for(fault) is fault.reason


@pytest.mark.parametrize("pair", list(pairwise(FAULTS)), ids=lambda pair: f"{pair[0].reason.value} first")
def test_first_fault_in_order_is_told(pair: tuple[Fault, Fault]) -> None:
    """Of two faults the one that comes first in the order is audited."""
    assert reason_for(*pair) is pair[0].reason


@given(faults=st.sets(st.integers(0, len(FAULTS) - 1), min_size=1))
def test_any_fault_refuses(faults: set[int]) -> None:
    """No combination of faults makes a good key."""
    assert reason_for(*(FAULTS[index] for index in sorted(faults))) is FAULTS[min(faults)].reason


def test_suspended_key_is_refused() -> None:
    """A suspended key may come back, but not now."""
    assert reason_for(Fault(Reason.SUSPENDED, record={"status": Status.SUSPENDED})) is Reason.SUSPENDED


def test_right_client_id_is_accepted() -> None:
    """Whoever names the key's own id is let through."""
    assert decide(a_record(), an_owner(), asked(client_id="k3v9x0q2m7ab"), NOW) is None


@pytest.mark.parametrize("client_id", ["", "K3V9X0Q2M7AB", "k3v9x0q2m7ab ", "k3v9x0q2m7a"])
def test_almost_the_right_client_id_is_refused(client_id: str) -> None:
    """An empty id, another case or a part of the id is not the id."""
    assert decide(a_record(), an_owner(), asked(client_id=client_id), NOW) is Reason.ID_MISMATCH


def test_test_key_is_accepted_where_the_deployment_takes_them() -> None:
    """Test keys are keys like others where they are let in."""
    assert decide(a_record(environment="test"), an_owner(), asked(), NOW) is None


@given(seconds=st.integers(-(10**6), 10**6))
def test_expiry_is_judged_by_the_moment_given(seconds: int) -> None:
    """`decide` looks at no clock of its own."""
    record = a_record(expires_at=NOW)
    reason = decide(record, an_owner(), asked(), NOW + timedelta(seconds=seconds))
    assert reason is (Reason.EXPIRED if seconds >= 0 else None)


HELD = ("read", "write", "keys:read", "introspect")


def scope_reason(*scopes: str, ruled: Rules | None = None) -> Reason | None:
    record = a_record(policy=Policy(scopes=HELD))
    return decide(record, an_owner(), asked(ruled, scopes=scopes), NOW)


@pytest.mark.parametrize("scopes", [(), ("read",), ("write", "read"), ("introspect",)])
def test_held_scopes_are_given(scopes: tuple[str, ...]) -> None:
    """Whoever asks for a part of what the key holds gets it."""
    assert scope_reason(*scopes) is None


@pytest.mark.parametrize("scopes", [("admin",), ("read", "admin"), ("READ",), ("rea",), ("read ",), ("",), ("*",)])
def test_scopes_not_held_are_denied(scopes: tuple[str, ...]) -> None:
    """One scope too many denies the request; scopes are compared as they are."""
    assert scope_reason(*scopes) is Reason.SCOPE_DENIED


@pytest.mark.parametrize("scope", sorted(scope for scope in RESERVED_SCOPES if scope.startswith("keys:")))
def test_management_scopes_are_denied_even_if_held(scope: str) -> None:
    """`keys:*` opens the management API, and only JWTs for that API may hold it."""
    record = a_record(policy=Policy(scopes=tuple(RESERVED_SCOPES)))
    assert decide(record, an_owner(), asked(scopes=(scope,)), NOW) is Reason.SCOPE_DENIED


def test_scope_the_deployment_gave_up_is_denied() -> None:
    """A scope on the key's list that the deployment no longer knows counts no more."""
    assert scope_reason("write", ruled=rules(scopes=frozenset({"read"}))) is Reason.SCOPE_DENIED


def test_reserved_scopes_stay_held_whatever_the_deployment_lists() -> None:
    """`KEYSTILE_SCOPES` limits the deployment's own scopes, not ours."""
    record = a_record(policy=Policy(scopes=HELD))
    assert held_scopes(record, an_owner(), rules(scopes=frozenset({"read"}))) == ("read", "keys:read", "introspect")
    assert held_scopes(record, an_owner(), rules()) == HELD


@given(scopes=st.sets(st.sampled_from([*HELD, "admin", "keys:admin"])))
def test_allowed_request_asks_only_for_what_is_held(scopes: set[str]) -> None:
    """Nobody is ever allowed a scope that the record does not hold."""
    record, owner = a_record(policy=Policy(scopes=HELD)), an_owner()
    allowed = decide(record, owner, asked(scopes=tuple(scopes)), NOW) is None
    assert allowed == (scopes <= set(HELD) - {"keys:read"})


def test_decision_leaves_its_arguments_alone() -> None:
    """The decision is pure: asked twice it answers twice the same."""
    record: KeyRecord = a_record(policy=Policy(scopes=HELD))
    owner: Owner = an_owner()
    answers = [decide(record, owner, asked(scopes=("read",)), NOW) for _ in range(2)]
    assert answers == [None, None]
    assert record == a_record(policy=Policy(scopes=HELD))
