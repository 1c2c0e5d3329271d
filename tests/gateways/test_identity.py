"""What the service behind a gateway is told: who asks, in Keystile's words alone, and never the key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateways.client import bearer, ways_to_present
from unit.test_verify_door import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateways.echo import Received
    from gateways.scene import Place

NOTHING = {"x-auth-tenant", "x-auth-actor"}
# RFC 9110, 5.6.2: what else a name may hold. Behind CGI, WSGI and their kind each of these is read as a dash.
ALIASES = "!#$%&'*+.^_`|~"
SPELLINGS: tuple[Callable[[str], str], ...] = (
    str,
    str.lower,
    str.upper,
    lambda name: name.replace("-", "_", 1),
    lambda name: name.lower().replace("auth-", "auth_"),
    *(lambda name, alias=alias: name.replace("-", alias) for alias in ALIASES),
)
AS_MANY_SCOPES_AS_FIT = [f"scope-{number:02}:{'x' * 24}" for number in range(50)]


def identity(received: Received) -> dict[str, list[str]]:
    """Return the identity headers as the most generous service reads them."""
    found: dict[str, list[str]] = {}
    for name, value in received.headers:
        read = "".join(each if each.isalnum() else "-" for each in name.lower())
        if read.startswith("x-auth-"):
            found.setdefault(read, []).append(value)
    return found


def test_every_way_of_presenting_a_key_becomes_a_jwt(place: Place) -> None:
    """The service gets a JWT that verifies and the six identity headers, and the key in no header and no query."""
    key = place.keystile.key
    for presented in ways_to_present(key):
        received = place.client.get("/orders?page=2", *presented).upstream
        assert received is not None, presented[0][0]
        (authorization,) = received.values("authorization")
        claims = place.keystile.claims(authorization.removeprefix("Bearer "))
        assert (claims["client_id"], claims["scope"]) == (key["key_id"], "read write")
        assert identity(received) == {
            "x-auth-subject": [claims["sub"]],
            "x-auth-username": [key["owner"]],
            "x-auth-key-id": [key["key_id"]],
            "x-auth-scope": ["read write"],
            "x-auth-tenant": ["-"],
            "x-auth-actor": ["-"],
        }
        assert received.values("x-api-key") == []
        assert key["api_key"][-38:] not in received.text()


def test_a_jwt_goes_on_unchanged(place: Place) -> None:
    """Who presents the JWT that the service got is let through with that very JWT."""
    key = place.keystile.key
    first = place.client.get("/", bearer(key)).upstream
    assert first is not None
    (authorization,) = first.values("authorization")
    again = place.client.get("/", ("Authorization", authorization)).upstream
    assert again is not None
    assert again.values("authorization") == [authorization]
    assert identity(again) == identity(first)


def test_a_large_jwt_arrives(place: Place) -> None:
    """A key with as many scopes as a JWT may tell of gets through, and so does that JWT."""
    key = place.keystile.having(scopes=AS_MANY_SCOPES_AS_FIT)
    for _ in range(2):
        received = place.client.get("/", bearer(key)).upstream
        assert received is not None
        (authorization,) = received.values("authorization")
        assert len(authorization) > 3_000
        again = place.client.get("/", ("Authorization", authorization)).upstream
        assert again is not None
        assert identity(again) == identity(received)


def test_forged_identity_headers_go_no_further(place: Place) -> None:
    """In any case, twice, or by another name that services read alike: a client's own identity headers are dropped."""
    key = place.keystile.key
    honest = place.client.get("/", bearer(key)).upstream
    assert honest is not None
    for spell in SPELLINGS:
        forged = [(spell(name), "root") for name in IDENTITY]
        answer = place.client.get("/", *forged, bearer(key), *forged)
        if answer.upstream is not None:
            assert identity(answer.upstream) == identity(honest), forged
            assert "root" not in answer.upstream.text(), forged
        else:
            assert answer.status == 400, forged


def test_no_client_takes_identity_headers_away(place: Place) -> None:
    """RFC 9110, 7.6.1: what a client names in `Connection` a proxy drops; not what Keystile said, nor the JWT."""
    key = place.keystile.key
    honest = place.client.get("/", bearer(key)).upstream
    assert honest is not None
    for named in (*IDENTITY, "authorization", "x-api-key", "x-forwarded-for, x-forwarded-uri, x-forwarded-method"):
        for connection in (f"close, {named}", named.upper()):
            answer = place.client.get("/", ("Connection", connection), bearer(key))
            if answer.upstream is not None:
                assert identity(answer.upstream) == identity(honest), named
                assert len(answer.upstream.values("authorization")) == 1, named
                # Whoever is next might do it.
                assert named.lower() not in str(answer.upstream.values("connection")).lower()
            else:
                assert answer.status in (400, 401), named


def test_a_refused_request_reaches_nobody(place: Place) -> None:
    """Without a key, with forged identity headers alone, with a wrong key or with two, nothing gets to the service."""
    key, other = place.keystile.key, place.keystile.having()
    forged = tuple((name, "root") for name in IDENTITY)
    for headers, status in (
        ((), 401),
        (forged, 401),
        ((("Authorization", f"Bearer {key['api_key'][:-6]}AAAAAA"), *forged), 401),
        ((("Authorization", "Digest x"),), 401),
        ((bearer(key), ("X-API-Key", other["api_key"])), 400),
    ):
        answer = place.client.get("/", *headers)
        assert (answer.status, answer.upstream) == (status, None), headers


def test_a_key_in_a_url_is_no_key(place: Place) -> None:
    """401, and Keystile logs nothing of it; a gateway's access log holds what clients write into their URLs."""
    key = place.keystile.issue()
    place.keystile.ledger.remove(key["api_key"])  # as good as published
    answer = place.client.get(f"/?api_key={key['api_key']}&access_token={key['api_key']}")
    assert (answer.status, answer.upstream) == (401, None)
    logs = [path.read_text() for path in place.scene.folder.glob("*.log")]
    assert logs
    assert not any(key["api_key"] in text for text in logs)


def test_each_request_of_a_connection_is_asked_about(place: Place) -> None:
    """What was let through a moment ago on the same connection says nothing of the next request."""
    good = (bearer(place.keystile.key),)
    assert place.client.on_one_connection(good, (), good, (("X-Auth-Subject", "root"),), good) == [200, 401] * 2 + [200]
