from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystile.claims import Grant, check_claims, claims_of, grant, parse_scope
from keystile.errors import ConfigurationError, PolicyRefusedError, RequestError
from keystile.policy import RESERVED_SCOPES
from keystile.restrictions import Policy, parse_tenant_defaults
from unit.builders import DEFAULT_AUDIENCE, ISSUER, NOW, a_record, an_owner, asked, rules

TTL = timedelta(minutes=5)
REQUIRED = {"iss", "sub", "aud", "exp", "iat", "jti", "client_id"}  # RFC 9068, section 2.2


def claims(granted: Grant | None = None, now: datetime = NOW, **record: Any) -> dict[str, Any]:  # noqa: ANN401 - fields
    granted = granted or Grant(DEFAULT_AUDIENCE, ())
    return claims_of(a_record(**record), an_owner(), granted, ISSUER, now, TTL)


def test_jwt_says_what_rfc_9068_requires() -> None:
    """Every required claim is there, and says who, for whom, from whom and until when."""
    said = claims(Grant("https://mcp.example.com/mcp", ("read", "write")), gen=4)
    jti = said.pop("jti")
    assert said == {
        "iss": ISSUER,
        "sub": "owner-1",
        "aud": "https://mcp.example.com/mcp",
        "iat": NOW.timestamp(),
        "exp": NOW.timestamp() + 300,
        "client_id": "k3v9x0q2m7ab",
        "gen": 4,
        "env": "live",
        "scope": "read write",
    }
    assert len(jti) >= 22
    assert {*said, "jti"} >= REQUIRED


def test_every_jwt_has_an_id_of_its_own() -> None:
    """No two JWTs share a `jti`."""
    assert len({claims()["jti"] for _ in range(100_000)}) == 100_000


def test_what_services_enforce_is_carried() -> None:
    """Tenant, projects, capabilities and constraints of a policy are told as they are; without any nothing is."""
    can = {"resource": "orders", "actions": ["read"], "constraints": {"region": "eu"}}
    policy = Policy(projects=("p",), tenant="acme", capabilities=(can,))
    said = claims(policy=policy.changed({"max_tokens_per_request": 8, "max_concurrent_requests": 2}))
    assert (said["projects"], said["tenant"], said["capabilities"]) == (["p"], "acme", [can])
    assert said["constraints"] == {"max_tokens_per_request": 8, "max_concurrent_requests": 2}
    assert not {"projects", "tenant", "capabilities", "constraints"} & claims().keys()


def test_a_tenant_gives_what_its_key_leaves_open() -> None:
    """Defaults of a tenant are carried under the key's own, which win, a zero too."""
    defaults = parse_tenant_defaults('{"acme": {"max_tokens_per_request": 8, "max_concurrent_requests": 2}}')
    record = a_record(policy=Policy(tenant="acme", max_tokens_per_request=0))
    granted = Grant(DEFAULT_AUDIENCE, ())
    said = claims_of(record, an_owner(), granted, ISSUER, NOW, TTL, tenant_default=defaults["acme"])
    assert said["constraints"] == {"max_tokens_per_request": 0, "max_concurrent_requests": 2}


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"acme": 1}', '{"acme": {"scopes": ["a"]}}', '{"acme": {"colour": "red"}}']
)
def test_defaults_that_are_none_are_refused(text: str) -> None:
    """What a tenant cannot have a default for is said at start-up."""
    with pytest.raises(ConfigurationError):
        parse_tenant_defaults(text)


def test_a_policy_that_no_header_could_carry_is_refused() -> None:
    """What takes more room in a JWT than in a record is found when the key is issued, not at a gateway."""
    with pytest.raises(PolicyRefusedError) as refused:
        check_claims(Policy(projects=tuple(f"{number}" + "鍵" * 99 for number in range(10))))
    assert refused.value.fields == {"projects"}


def test_without_scopes_there_is_no_scope_claim() -> None:
    """A key without scopes gives a JWT without `scope`, not an empty one."""
    assert "scope" not in claims()


def test_test_key_says_so_and_projects_are_told() -> None:
    """The environment and the projects of a key reach the service behind."""
    said = claims(environment="test", policy=Policy(projects=("a", "b")))
    assert (said["env"], said["projects"]) == ("test", ["a", "b"])
    assert "projects" not in claims()


@given(left=st.timedeltas(timedelta(), timedelta(hours=2)), micro=st.integers(0, 999_999))
def test_jwt_never_outlives_its_key(left: timedelta, micro: int) -> None:
    """`exp` is at most the key's own expiry and at most the maximum life away, in whole seconds."""
    now = NOW.replace(microsecond=micro)
    said = claims(now=now, expires_at=now + left)
    assert said["exp"] <= (now + left).timestamp()
    assert said["exp"] - said["iat"] <= TTL.total_seconds()
    assert type(said["exp"]) is type(said["iat"]) is int
    assert said["iat"] <= now.timestamp()


@given(audience=st.text(min_size=1, max_size=50))
def test_audience_is_byte_for_byte_what_was_asked(audience: str) -> None:
    """`aud` is one string, exactly the one the client sent (MCP compares them so)."""
    granted = grant(a_record(), an_owner(), asked(audience=audience))
    assert claims(granted)["aud"] == audience


def test_default_audience_where_none_is_asked() -> None:
    """There is never a JWT without `aud`."""
    assert grant(a_record(), an_owner(), asked()).audience == DEFAULT_AUDIENCE


def test_all_scopes_but_reserved_ones_where_none_are_asked() -> None:
    """Whoever names no scope gets the key's own ones; reserved ones only come by name."""
    record = a_record(policy=Policy(scopes=("read", *sorted(RESERVED_SCOPES), "write")))
    assert grant(record, an_owner(), asked()).scopes == ("read", "write")
    assert grant(record, an_owner(), asked(scopes=("introspect",))).scopes == ("introspect",)


def test_scopes_the_deployment_gave_up_are_not_given() -> None:
    """None asked: only what the deployment still knows."""
    record = a_record(policy=Policy(scopes=("read", "write")))
    assert grant(record, an_owner(), asked(rules(scopes=frozenset({"write"})))).scopes == ("write",)


def test_fewer_scopes_are_given_as_asked() -> None:
    """Whoever asks for less gets less, in the order asked."""
    record = a_record(policy=Policy(scopes=("a", "b", "c")))
    assert grant(record, an_owner(), asked(scopes=("c", "a"))).scopes == ("c", "a")


@pytest.mark.parametrize(
    ("text", "scopes"),
    [
        ("", ()),
        ("read", ("read",)),
        ("read write", ("read", "write")),
        ("b a b", ("b", "a")),
        ("!#[]~:/", ("!#[]~:/",)),
        ("a" * 128, ("a" * 128,)),
        (" ".join(map(str, range(50))), tuple(map(str, range(50)))),
    ],
)
def test_scope_is_split_and_duplicates_dropped(text: str, scopes: tuple[str, ...]) -> None:
    """A scope parameter is a list of tokens separated by single blanks."""
    assert parse_scope(text) == scopes


@pytest.mark.parametrize(
    "text",
    [
        " ",
        " a",
        "a ",
        "a  b",
        "a\tb",
        "a\n",
        'a"b',
        "a\\b",
        "é",
        "a\0",
        "\x7f",
        "a" * 129,
        " ".join(map(str, range(51))),
    ],
)
def test_malformed_scope_is_invalid(text: str) -> None:
    """What is no list of scope tokens is `invalid_scope` (RFC 6749, 3.3)."""
    with pytest.raises(RequestError) as refused:
        parse_scope(text)
    assert refused.value.error == "invalid_scope"


@given(text=st.text(st.characters(), max_size=40))
def test_any_text_is_scopes_or_invalid(text: str) -> None:
    """No text makes reading fail in another way, and what is read has no characters a header may not carry."""
    try:
        scopes = parse_scope(text)
    except RequestError:
        return
    assert all("\x21" <= letter <= "\x7e" and letter not in '"\\' for scope in scopes for letter in scope)


@pytest.mark.parametrize(("ahead", "later"), [(-1, 0), (0, 1), (59, 60), (60, 0)])
def test_jwt_made_after_a_sign_out_is_later_than_it(ahead: int, later: int) -> None:
    """A sign-out kills what was issued in its own second; what is made after it, by a slower clock even, lives."""
    moment = int(NOW.timestamp())
    owner = an_owner(not_before=moment + ahead)
    made = claims_of(a_record(), owner, Grant(DEFAULT_AUDIENCE, ()), ISSUER, NOW, TTL)
    assert made["iat"] == moment + later


@pytest.mark.parametrize(
    ("policy", "named"),
    [
        (Policy(scopes=("read", "a b")), "scopes"),
        (Policy(scopes=("",)), "scopes"),
        (Policy(audiences=("relative",)), "audiences"),
        (Policy(audiences=("https://x.example/#f",)), "audiences"),
        (Policy(projects=("a\nb",)), "projects"),
        (Policy(projects=("",)), "projects"),
        (Policy(projects=("p" * 257,)), "projects"),
        (Policy(level="\ud800"), "level"),
        (Policy(tenant=" "), "tenant"),
    ],
)
def test_a_policy_says_only_what_a_jwt_can(policy: Policy, named: str) -> None:
    """What is no scope token, no absolute URI, or does not print, is refused by the name of its field."""
    with pytest.raises(PolicyRefusedError) as refused:
        check_claims(policy)
    assert refused.value.fields == {named}
    good = Policy(scopes=("a:b",), audiences=("urn:x:y",), projects=("Büro 3",), level="user", tenant="acme")
    check_claims(good)
    check_claims(Policy())
