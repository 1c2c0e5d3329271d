"""Who may act for whom by a policy, and the `act` claim: pure, without keys."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.delegation import MAX_DEPTH, MAX_NAMED, Actor, act_claim, actors_of, check_delegation, judge_actors
from keystile.errors import KeyRefusedError, PolicyRefusedError, Reason
from keystile.policy import decide_asked
from keystile.restrictions import Policy
from unit.builders import API_AUDIENCE, a_record, an_owner, api_rules, asked
from unit.strategies import json_values

KEY_ID, OWNER_ID = "a0b1c2d3e4f5", "0b9d2a60-5f1e-4f0a-9d55-0c1f2e3d4c5b"
AGENT = Actor(KEY_ID, OWNER_ID, 3, "agent")
actors = st.builds(Actor, st.from_regex(r"[0-9a-z]{12}", fullmatch=True), st.uuids().map(str), st.integers(0, 2**53))
chains = st.lists(actors, max_size=MAX_DEPTH).map(tuple)


@pytest.mark.parametrize("entry", [KEY_ID, OWNER_ID, "agent", f"key:{KEY_ID}", f"owner:{OWNER_ID}", "name:agent"])
def test_an_actor_is_named_by_key_owner_or_username(entry: str) -> None:
    """A key id means that key, an owner's id or username every key of that owner."""
    assert judge_actors(Policy(may_act=("somebody", entry)), (AGENT,)) is None


@pytest.mark.parametrize(
    "entry", ["", "Agent", "agent ", "key:", "owner:", "name:", f"name:{KEY_ID}", "key:agent", "*"]
)
def test_whoever_is_not_named_may_not_act(entry: str) -> None:
    """Nothing is a pattern, and no kind of name stands for another."""
    assert judge_actors(Policy(may_act=(entry,)), (AGENT,)) is Reason.ACTOR_DENIED


def test_by_default_nobody_may_act() -> None:
    """A key that says nothing of actors has none."""
    assert judge_actors(Policy(), (AGENT,)) is Reason.ACTOR_DENIED


@pytest.mark.parametrize("entry", [KEY_ID, OWNER_ID])
def test_a_username_that_looks_like_an_id_is_none(entry: str) -> None:
    """Whoever takes the id on somebody's list as a username may not act by it, unless the list says `name:`."""
    impostor = Actor("zzzzzzzzzzzz", "ffffffff-5f1e-4f0a-9d55-0c1f2e3d4c5b", 1, entry)
    assert judge_actors(Policy(may_act=(entry,)), (impostor,)) is Reason.ACTOR_DENIED
    assert judge_actors(Policy(may_act=(f"name:{entry}",)), (impostor,)) is None


def test_an_actor_without_a_username_has_none() -> None:
    """Before its record was read an actor is nobody by name, whatever stands on the list."""
    unread = Actor(KEY_ID, OWNER_ID, 1)
    for entry in ("", "name:"):
        assert judge_actors(Policy(may_act=(entry,)), (unread,)) is Reason.ACTOR_DENIED


def test_every_actor_of_a_chain_is_named_and_the_chain_is_bounded() -> None:
    """One that is not named spoils the chain wherever it stands; the depth is one unless more is said."""
    other = Actor("bbbbbbbbbbbb", OWNER_ID, 1, "other")
    both = Policy(may_act=(KEY_ID, "bbbbbbbbbbbb"), act_depth=2)
    assert judge_actors(both, (AGENT, other)) is None
    assert judge_actors(both.changed({"act_depth": 1}), (AGENT, other)) is Reason.CHAIN_TOO_LONG
    for chain in ((AGENT, other), (other, AGENT)):
        assert judge_actors(Policy(may_act=(KEY_ID,), act_depth=2), chain) is Reason.ACTOR_DENIED


def test_no_policy_allows_more_than_the_longest_chain() -> None:
    """What somebody wrote behind our back has the same bound."""
    policy = Policy(may_act=(KEY_ID,), act_depth=1_000)
    assert judge_actors(policy, (AGENT,) * MAX_DEPTH) is None
    assert judge_actors(policy, (AGENT,) * (MAX_DEPTH + 1)) is Reason.CHAIN_TOO_LONG


def test_nobody_acts_at_the_management_api() -> None:
    """An agent makes no keys in the owner's name: those would outlive its right to act."""
    policy = Policy(may_act=(KEY_ID,), scopes=("keys:write", "read"))
    context = asked(api_rules(), audience=API_AUDIENCE, actors=(AGENT,))
    assert decide_asked(a_record(policy=policy), an_owner(), context) is Reason.AUDIENCE_DENIED
    context = asked(api_rules(), scopes=("read",), actors=(AGENT,))
    assert decide_asked(a_record(policy=policy), an_owner(), context) is None


@given(chain=chains)
def test_a_chain_comes_back_from_its_claim(chain: tuple[Actor, ...]) -> None:
    """`act` nests from the one who asks inwards (RFC 8693, section 4.1), and is read as it was written."""
    claim = act_claim(chain)
    assert (claim is None) == (chain == ())
    assert actors_of({} if claim is None else {"act": claim}) == chain


@given(claim=json_values | st.dictionaries(st.sampled_from(["sub", "client_id", "gen", "act"]), json_values))
def test_any_other_claim_is_refused(claim: object) -> None:
    """Whatever stands in `act`, it is a chain of ours or the JWT is refused; reading it never fails otherwise."""
    with suppress(KeyRefusedError):
        assert claim is None or actors_of({"act": claim})


def test_a_deeper_claim_is_refused() -> None:
    """More levels than may act are not even read."""
    claim: dict[str, Any] = {"sub": OWNER_ID, "client_id": KEY_ID, "gen": 1}
    for _ in range(MAX_DEPTH):
        claim = {**claim, "act": claim}
    with pytest.raises(KeyRefusedError):
        actors_of({"act": claim})


@pytest.mark.parametrize(
    "policy",
    [
        Policy(may_act=("",)),
        Policy(may_act=(" agent",)),
        Policy(may_act=("a\n",)),
        Policy(may_act=("a" * 256,)),
        Policy(may_act=tuple(f"agent {number}" for number in range(MAX_NAMED + 1))),
        Policy(act_depth=0),
        Policy(act_depth=MAX_DEPTH + 1),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused_when_it_is_set(policy: Policy) -> None:
    """Lists are bounded, names printable, and the depth is at least one."""
    with pytest.raises(PolicyRefusedError) as refused:
        check_delegation(policy)
    assert refused.value.fields <= {"may_act", "act_depth"}


@pytest.mark.parametrize(
    ("before", "after", "narrower"),
    [
        (Policy(may_act=("a", "b")), Policy(may_act=("a",)), {"may_act"}),
        (Policy(may_act=("a",)), Policy(may_act=("a", "b")), set()),
        (Policy(act_depth=2), Policy(), {"act_depth"}),
        (Policy(), Policy(act_depth=2), set()),
    ],
)
def test_whom_an_owner_no_longer_lets_act_is_a_narrower_policy(
    before: Policy, after: Policy, narrower: set[str]
) -> None:
    """So the JWTs from before die with the change."""
    assert after.narrows(before) == narrower
