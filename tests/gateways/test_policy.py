"""A key's policy is judged by what the client really did, whatever it writes into forwarding headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateways.client import ADDRESS, STRANGER, bearer

if TYPE_CHECKING:
    from gateways.client import Headers
    from gateways.scene import Place

ENDPOINT_HEADERS = (
    ("X-Forwarded-Method", "X-Forwarded-Uri"),
    ("X-Original-Method", "X-Original-URI"),
    ("X-Original-Method", "X-Original-URL"),
    ("X-HTTP-Method-Override", "X-Rewrite-URL"),
    ("X-Envoy-Original-Method", "X-Envoy-Original-Path"),
    ("X-HTTP-Method", "X-Forwarded-Prefix"),
    ("X-Method-Override", "X_Forwarded_Uri"),
)
ADDRESS_HEADERS = (
    "X-Forwarded-For",
    "X-Real-IP",
    "Forwarded",
    "X-Client-IP",
    "True-Client-IP",
    "X-Envoy-External-Address",
)
TRICKS = (
    "/admin/users",
    "/admin/",
    "/ADMIN/users",
    "/%61dmin/users",
    "/%2561dmin/users",
    "//admin/users",
    "/v1//..//admin/users",
    "/v1/../admin/users",
    "/v1/%2e%2e/admin/users",
    "/v1/..%2fadmin/users",
    "/v1%2f..%2fadmin/users",
    "/admin;x/users",
    "/v1/..;/admin/users",
    "/./admin/users",
    "/admin%2fusers",
    "/admin%00/users",
    "/\\admin/users",
    "/admin#/v1",
    "/v1/models#/../../admin/users",
    "http://service.example/admin/users",
    "HTTP://service.example//admin/users",
)


def test_endpoints_are_those_of_the_request(place: Place) -> None:
    """A key for `GET /v1/*` and `POST /v1/jobs` reads and starts jobs, and does nothing else."""
    key = place.keystile.having(allowed_endpoints=["GET /v1/*", "POST /v1/jobs"])
    asked = {
        ("GET", "/v1/models"): 200,
        ("GET", "/v1/a%20b?x=/v2"): 200,
        ("POST", "/v1/jobs?a=1&a=2"): 200,
        ("GET", "/v1/models/"): 401,
        ("GET", "/v1"): 401,
        ("GET", "/v2/models"): 401,
        ("GET", "/?/v1/models"): 401,
        ("POST", "/v1/models"): 401,
        ("DELETE", "/v1/jobs"): 401,
        ("HEAD", "/v1/models"): 401,
        ("OPTIONS", "/v1/models"): 401,
        ("GET", "/sts/verify/v1/models"): 401,
    }
    answers = {request: place.client.send(*request, bearer(key)).status for request in asked}
    assert answers == asked


def test_forged_forwarding_headers_do_not_move_the_endpoint(place: Place) -> None:
    """Headers in which gateways tell method and path are worth nothing from a client, and go no further."""
    key = place.keystile.having(allowed_endpoints=["GET /v1/*"])
    for method, path in ENDPOINT_HEADERS:
        allowed: Headers = ((method, "GET"), (path, "/v1/models"))
        denied: Headers = ((method, "DELETE"), (path, "/v2/models"))
        for forged in (allowed, allowed * 2, allowed[:1], allowed[1:], tuple((n.lower(), v) for n, v in allowed)):
            answer = place.client.send("DELETE", "/v2/models", *forged, bearer(key))
            assert (answer.status, answer.upstream) == (401, None), forged
        answer = place.client.get("/v1/models", *denied, bearer(key))
        if answer.upstream is None:
            assert answer.status == 400, denied
        else:
            told = [answer.upstream.values(name) for name in (method, path) if not name.startswith("X-Envoy-Original")]
            assert "DELETE" not in str(told), denied
            assert "/v2/models" not in str(told), denied


def test_no_spelling_of_a_blocked_path_passes(place: Place) -> None:
    """However a path to what is blocked is spelled, a service that tidies it never gets to see it."""
    key = place.keystile.having(blocked_endpoints=["* /admin/**"])
    assert place.client.get("/v1/models", bearer(key)).status == 200
    for target in TRICKS:
        answer = place.client.get(target, bearer(key))
        assert answer.upstream is None, (target, answer.upstream)


def test_addresses_are_those_of_the_connection(place: Place) -> None:
    """A key for one address works from there alone; what others write of theirs counts nothing."""
    key = place.keystile.having(allowed_ips=[f"{ADDRESS}/32"])
    assert place.client.get("/", bearer(key)).status == 200
    assert place.client.get("/", bearer(key), address=STRANGER).status == 401
    for name in ADDRESS_HEADERS:
        for value in (ADDRESS, f"for={ADDRESS}", f"{ADDRESS}, 127.0.0.1", f"127.0.0.1, {ADDRESS}"):
            forged = (name, value)
            answer = place.client.get("/", forged, bearer(key), forged, address=STRANGER)
            assert (answer.status, answer.upstream) == (401, None), forged
    mine = place.client.get("/", ("X-Forwarded-For", STRANGER), bearer(key)).upstream
    assert mine is not None
    assert mine.values("x-forwarded-for")[-1].endswith(ADDRESS)


def test_tls_and_origin_are_told_as_they_are(place: Place) -> None:
    """Over plain HTTP nobody says `https`; an origin is the client's own word, and passed on."""
    secure, page = place.keystile.having(require_tls=True), place.keystile.having(allowed_origins=["app.example.com"])
    for forged in (("X-Forwarded-Proto", "https"), ("X-Forwarded-Ssl", "on"), ("X-Forwarded-Scheme", "https")):
        assert place.client.get("/", forged, bearer(secure)).status == 401
    assert place.client.get("/", ("Origin", "https://app.example.com"), bearer(page)).status == 200
    assert place.client.get("/", ("Origin", "https://evil.example.com"), bearer(page)).status == 401
    assert place.client.get("/", bearer(page)).status == 401
