from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.network import Facts, judge_request
from keystile.restrictions import Policy
from unit.strategies import policies

NUMBERS = (
    "requests_per_hour",
    "requests_per_day",
    "requests_per_month",
    "cost_cents_per_month",
    "idle_days",
    "max_tokens_per_request",
    "max_concurrent_requests",
)
NETWORKS = (
    "192.0.2.0/24",
    "192.0.2.0/25",
    "192.0.2.7",
    "192.0.2.7/32",
    "0.0.0.0/0",
    "2001:db8::/32",
    "2001:db8::7",
    "?",
)
HOSTS = ("example.com", "a.example.com", "*.example.com", "b.example.org")
ENDPOINTS = ("GET /a", "GET /a/*", "* /a/*", "POST /b")


def some(*words: str) -> st.SearchStrategy[tuple[str, ...]]:
    """Return lists of these words, of which any two often have something in common."""
    return st.lists(st.sampled_from(words), max_size=3).map(tuple)


numbers = st.none() | st.integers(0, 2)
related = st.builds(
    Policy,
    scopes=some("read", "write", "run"),
    audiences=some("https://a", "https://b"),
    projects=some("p", "q"),
    level=st.sampled_from(["", "user", "admin"]),
    tenant=st.sampled_from(["", "acme"]),
    allowed_ips=some(*NETWORKS),
    allowed_origins=some(*HOSTS),
    require_tls=st.booleans(),
    allowed_endpoints=some(*ENDPOINTS),
    blocked_endpoints=some(*ENDPOINTS),
    capabilities=st.sampled_from([(), ({"resource": "db"},), ({"resource": "db"}, {"resource": "fs"})]),
    may_act=some("agent", "k3v9x0q2m7ab"),
    act_depth=st.integers(0, 3),
    **dict.fromkeys(NUMBERS, numbers),
)
facts = st.builds(
    Facts,
    address=st.sampled_from([None, "192.0.2.7", "192.0.2.200", "198.51.100.1", "2001:db8::7", "2001:db9::1"]),
    origin=st.sampled_from([None, *(f"https://{host.lstrip('*.')}" for host in HOSTS), "https://evil.example"]),
    tls=st.sampled_from([None, True, False]),
    method=st.sampled_from([None, "GET", "POST"]),
    path=st.sampled_from([None, "/a", "/a/b", "/b", "/c"]),
)
FIELDS = [each.name for each in fields(Policy)]
UNRESTRICTED = Policy()


def only(policy: Policy, name: str) -> Policy:
    """Return a policy that says of *name* what *policy* says, and nothing else."""
    return Policy(**{name: getattr(policy, name)})


@given(policy=policies)
def test_policy_comes_back_as_it_was_stored(policy: Policy) -> None:
    """Whatever a policy says, a limit of nothing included, is said again by what is read back."""
    assert Policy.from_document(policy.to_document()) == policy
    assert Policy.from_document(json.loads(json.dumps(policy.to_document()))) == policy


@given(policy=policies)
def test_only_what_restricts_is_stored(policy: Policy) -> None:
    """A field that says nothing takes no room in a record."""
    said = {name for name in FIELDS if getattr(policy, name) != getattr(UNRESTRICTED, name)}
    assert set(policy.to_document()) == said


@pytest.mark.parametrize("name", NUMBERS)
def test_limit_of_nothing_is_kept(name: str) -> None:
    """A key that may do something no times at all does not come back without that limit."""
    policy = UNRESTRICTED.changed({name: 0})
    assert Policy.from_document(policy.to_document()) == policy
    assert policy.narrows(UNRESTRICTED.changed({name: 1})) == {name}


@given(policy=related)
def test_policy_neither_narrows_nor_exceeds_itself(policy: Policy) -> None:
    """To leave a policy as it is kills no JWT and asks for no right."""
    assert policy.narrows(policy) == policy.exceeds(policy) == frozenset()


@given(one=related, other=related)
def test_exceeding_is_narrowing_seen_from_the_other_side(one: Policy, other: Policy) -> None:
    """What exceeds a ceiling is what the ceiling allows less of, field by field."""
    assert one.exceeds(other) == other.narrows(one)
    for name in FIELDS:
        assert (name in one.narrows(other)) == bool(only(one, name).narrows(only(other, name)))


@pytest.mark.parametrize("name", FIELDS)
@given(three=st.tuples(related, related, related))
def test_what_narrows_in_no_step_does_not_narrow_in_two(name: str, three: tuple[Policy, Policy, Policy]) -> None:
    """If neither of two changes of a field allows less, both together do not."""
    widest, middle, least = (only(policy, name) for policy in three)
    if not widest.narrows(middle) and not middle.narrows(least):
        assert not widest.narrows(least)


@given(one=related, other=related)
def test_fields_that_differ_both_ways_are_told_both_ways(one: Policy, other: Policy) -> None:
    """If a policy neither narrows nor exceeds another, it says the same, whatever the order it says it in."""
    for name in set(FIELDS) - one.narrows(other) - one.exceeds(other) - {"allowed_ips"}:
        said, before = getattr(one, name), getattr(other, name)
        assert said == before or set(said) == set(before)


@given(one=related, other=related, said=facts, at_gateway=st.booleans())
def test_what_does_not_narrow_refuses_no_request_that_was_allowed(
    one: Policy, other: Policy, said: Facts, *, at_gateway: bool
) -> None:
    """A change that kills no JWT must not refuse a request either: the judge of requests agrees."""
    network = ("allowed_ips", "allowed_origins", "require_tls", "allowed_endpoints", "blocked_endpoints")
    wide = replace(other, **{name: getattr(one, name) for name in network if name not in one.narrows(other)})
    if judge_request(other, said, at_gateway=at_gateway) is None:
        assert judge_request(wide, said, at_gateway=at_gateway) is None


def test_unreadable_network_hides_no_other() -> None:
    """Beside a CIDR that nobody can read, the others still hold what lies within them."""
    assert not Policy(allowed_ips=("192.0.2.0/24", "?")).narrows(Policy(allowed_ips=("192.0.2.7",)))
    assert Policy(allowed_ips=("192.0.2.0/24",)).narrows(Policy(allowed_ips=("192.0.2.7", "?"))) == {"allowed_ips"}
