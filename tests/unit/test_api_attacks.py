"""The management API as somebody meets it who means harm, or who puts a key where none belongs."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from keystile.http.api.operations import OPERATIONS
from unit.managing import ADMIN, ADMIN_KEY, BASE, ask, document, is_good, issue
from unit.served import bearer, prepare, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from unit.served import Answered, Client, Prepared

JSON = ("Content-Type", "application/json")
CREDENTIALS = ("key", "older key", "JWT", "admin key")
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLW9mLXRoZS1qd3Q"
OLDER = "mcpkey_live_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNO-_"
FIELDS: tuple[Any, ...] = (
    {"name": "{}"},
    {"owner": "{}"},
    {"owner": "bob {} bob"},
    {"tenant": "{}"},
    {"level": "{}"},
    {"projects": ["{}"]},
    {"scopes": ["{}"]},
    {"audiences": ["https://x.example/{}"]},
    {"expires": "{}"},
    {"allowed_endpoints": ["GET /{}"]},
    {"capabilities": [{"resource": "{}"}]},
    {"capabilities": [{"resource": "x", "constraints": {"y": {"{}": 1}}}]},
    {"capabilities": [{"resource": "x", "constraints": {"y": ["{}"]}}]},
    {"{}": 1},
)
QUERIES = ("owner={}", "name={}", "tenant={}", "cursor={}", "{}=1", "limit=1&limit={}", "status={}")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
async def client(prepared: Prepared, tmp_path: Path) -> AsyncIterator[Client]:
    async with serving(prepared, tmp_path, admin_key=ADMIN_KEY, max_keys_per_owner=50) as opened:
        yield opened


def filled(shape: Any, text: str) -> Any:  # noqa: ANN401 - JSON
    if isinstance(shape, dict):
        return {filled(name, text): filled(each, text) for name, each in shape.items()}
    if isinstance(shape, list):
        return [filled(each, text) for each in shape]
    if isinstance(shape, str) and "{}" in shape:
        return text if text == ADMIN_KEY else shape.replace("{}", text)  # of that one nobody knows a part
    return shape


def presented(client: Client, which: str) -> str:
    return {"key": client.keys["good"], "older key": OLDER, "JWT": JWT, "admin key": ADMIN_KEY}[which]


async def misplace(client: Client, text: str) -> AsyncIterator[tuple[object, Answered]]:
    """Put *text* wherever something else belongs; yield each answer with the place."""
    for shape in FIELDS:
        yield shape, await ask(client, "POST", "/keys", {"name": "x", "owner": "bob", **filled(shape, text)})
    for query in QUERIES:
        yield query, await ask(client, "GET", "/keys", query=query.replace("{}", text))
    yield "events", await ask(client, "GET", "/keys/x/events", query=f"cursor={text}")
    for operation in OPERATIONS:
        if "{" in operation.path:
            path = operation.path.replace("{key_id}", text).replace("{user_id}", text)
            yield operation.name, await ask(client, operation.method, path, {"name": "x"} if operation.body else None)
    body = {"name": "x", "owner": "bob"}
    yield "Idempotency-Key", await ask(client, "POST", "/keys", body, ("Idempotency-Key", text))
    yield "If-Match", await ask(client, "PATCH", "/keys/x", body, ("If-Match", f'"{text}"'))
    yield "verify-batch", await ask(client, "POST", "/keys/verify-batch", {"keys": [], text: 1})


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("which", CREDENTIALS)
async def test_a_misplaced_credential_is_refused_and_not_repeated(client: Client, which: str) -> None:
    """An API key, a JWT or the admin key as a name, an id, an owner, a cursor or a field's name is told to nobody."""
    text = presented(client, which)
    async for place, answer in misplace(client, text):
        assert 400 <= answer.status < 500, (place, answer)
        assert answer.status != 401, place
        assert text[-20:] not in answer.body.decode(), (place, answer.body)


@pytest.mark.parametrize("which", CREDENTIALS)
async def test_a_misplaced_credential_is_kept_nowhere(
    prepared: Prepared, tmp_path: Path, which: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither database, audit log nor log hold it afterwards, not even as a request id or a user agent."""
    log = tmp_path / "audit.log"
    async with serving(prepared, tmp_path, admin_key=ADMIN_KEY, audit_log=log) as client:
        text = presented(client, which)
        async for _ in misplace(client, text):
            pass
        reader = (await issue(client, scopes=["keys:read"]))["api_key"]
        for name in ("X-Request-Id", "User-Agent"):
            assert (await ask(client, "GET", "/whoami", None, (name, text), who=bearer(reader))).status == 200
        assert (await ask(client, "GET", f"/users/{text}/keys", who=bearer(reader))).status == 404
    kept = contents(tmp_path)
    assert [path for path, content in kept.items() if text[-20:].encode() in content] == []
    assert text[-20:] not in "".join(capfd.readouterr())
    assert b'"admin_key_used"' in kept[log]


NOBODY = ("forged", "unknown", "wrong_secret", "revoked", "suspended", "expired", "owner_disabled", "malformed")


async def test_who_is_not_proved_learns_nothing(client: Client) -> None:
    """No credential, a bad one of any kind, a JWT of somebody else: one answer, byte for byte."""
    answers = [await ask(client, "GET", "/whoami", who=who) for who in (None, bearer(JWT), bearer(""), bearer("\xff"))]
    answers += [await ask(client, "GET", "/whoami", who=bearer(client.keys[name])) for name in NOBODY]
    assert {(answer.status, answer.headers, answer.body) for answer in answers} == {
        (401, answers[0].headers, answers[0].body)
    }


@pytest.mark.parametrize(
    ("headers", "body", "query"),
    [
        ([JSON, ("Content-Length", "999999")], b"x" * 20_000, ""),
        ([JSON], b"{", ""),
        ([("Content-Type", "text/plain")], b"", ""),
        ([JSON], b'{"name": "\\ud800"}', "limit=1&limit=2"),
        ([JSON, ("Idempotency-Key", "\xff")], b"{}", "colour=red"),
        ([JSON], JWT.encode(), f"owner={JWT}"),
    ],
)
async def test_nothing_is_read_before_the_caller_is_proved(
    client: Client, headers: list[tuple[str, str]], body: bytes, query: str
) -> None:
    """Whatever is wrong with a request, somebody unknown is told that it is unknown and nothing else."""
    plain = await client.send("POST", f"{BASE}/keys")
    answer = await client.send("POST", f"{BASE}/keys", [bearer("nonsense"), *headers], [body], query=query)
    assert (answer.status, answer.headers, answer.body) == (401, plain.headers, plain.body)


async def test_a_browser_proves_nobody(client: Client) -> None:
    """No cookie and no query parameter is a credential, no other origin may read an answer, no cookie is ever set."""
    key = (await issue(client, scopes=["keys:read"]))["api_key"]
    origin = ("Origin", "https://evil.example")
    for headers, query in (([("Cookie", f"Authorization=Bearer {key}; X-API-Key={key}")], ""), ([], f"api_key={key}")):
        answer = await client.send("GET", f"{BASE}/whoami", [origin, *headers], query=query)
        assert answer.status == 401
    answers = [await ask(client, "GET", "/whoami", None, origin)]
    answers += [await ask(client, "OPTIONS", "/keys", None, origin, ("Access-Control-Request-Method", "POST"))]
    assert [answer.status for answer in answers] == [200, 405]
    told = {name.lower() for answer in answers for name, _ in answer.headers}
    assert not any(name.startswith("access-control") or name == "set-cookie" for name in told)


async def test_nothing_that_shows_keys_is_stored_on_the_way(client: Client) -> None:
    """Every answer, the refusals too, says `no-store`."""
    key = await issue(client)
    answers = []
    for operation in OPERATIONS:
        path = operation.path.replace("{key_id}", key["key_id"]).replace("{user_id}", "alice")
        body: Any = {} if operation.body else None
        callers = (ADMIN, None, bearer(client.keys["good"]))
        answers += [await ask(client, operation.method, path, body, who=who) for who in callers]
    answers += [await ask(client, "GET", "/nothing"), await ask(client, "PUT", "/keys")]
    assert {answer.status for answer in answers} >= {200, 401, 403, 404, 405, 422}
    assert {answer.header("cache-control") for answer in answers} == {"no-store"}


@pytest.mark.parametrize(
    "field",
    ["key_id", "gen", "status", "issued_by", "issued_at", "bcrypt", "digest", "act", "owner_id", "requests"],
)
async def test_only_what_is_described_can_be_set(client: Client, field: str) -> None:
    """What a record holds besides is named as unknown, wherever it is sent, and nothing is done."""
    key = await issue(client)
    before = document(await ask(client, "GET", f"/keys/{key['key_id']}"))
    for method, path, body in (
        ("POST", "/keys", {"owner": "alice", "name": "x"}),
        ("POST", "/users/alice/keys", {"name": "x"}),
        ("PATCH", f"/keys/{key['key_id']}", {"name": "y"}),
        ("POST", f"/keys/{key['key_id']}/rotate", {}),
        ("POST", f"/keys/{key['key_id']}/revoke", {}),
        ("POST", "/keys/verify-batch", {"keys": ["x"]}),
    ):
        refused = document(await ask(client, method, path, {**body, field: "x"}), 422)
        assert [error["field"] for error in refused["errors"]] == [field]
    assert document(await ask(client, "GET", f"/keys/{key['key_id']}")) == before
    assert len(document(await ask(client, "GET", "/users/alice/keys"))["keys"]) == 1


async def test_a_key_keeps_its_owner(client: Client) -> None:
    """Neither PATCH nor the path of another user hands a key, or a new one, to somebody else."""
    key = await issue(client)
    assert (await ask(client, "PATCH", f"/keys/{key['key_id']}", {"owner": "bob"})).status == 422
    assert (await ask(client, "POST", "/users/alice/keys", {"owner": "bob", "name": "x"})).status == 422


async def test_what_may_not_be_seen_is_as_if_it_were_not_there(client: Client) -> None:
    """For every operation on a key, a stranger's key and no key at all differ in nothing but the id that was asked."""
    mine, other = await issue(client, scopes=["keys:read", "keys:write"]), await issue(client, owner="bob")
    for operation in (each for each in OPERATIONS if "{key_id}" in each.path):
        answers = []
        for key_id in (other["key_id"], "000000000000"):
            body = {"name": "x"} if operation.name == "change_key" else {} if operation.body else None
            path = operation.path.replace("{key_id}", key_id)
            answer = await ask(client, operation.method, path, body, who=bearer(mine["api_key"]))
            answers.append((answer.status, answer.headers, answer.body.replace(key_id.encode(), b"")))
        assert answers[0] == answers[1], operation.name
        assert answers[0][0] == 404
    assert await is_good(client, other["api_key"])


NESTED = b'{"name":"x","owner":"bob","capabilities":[{"resource":"r","constraints":{"a":%s}}]}'


@pytest.mark.parametrize(
    ("body", "content_types", "status"),
    [
        (b'{"name":"x","name":"y","owner":"bob"}', ["application/json"], 400),
        ('{"name":"x","owner":"bob"}'.encode("utf-16"), ["application/json"], 400),
        (b'\xef\xbb\xbf{"name":"x","owner":"bob"}', ["application/json"], 400),
        (b'{"name":"x","owner":"bob"}', ["application/json", "text/plain"], 415),
        (b'{"name":"x","owner":"bob"}', ["text/plain", "application/json"], 415),
        (b'{"name":"x","owner":"bob"}', ["application/json-patch+json"], 415),
        (b'{"name":"x","owner":"bob"}', ["multipart/form-data; application/json"], 415),
        (b'{"name":"x","owner":"bob"}', [], 415),
        (NESTED % b"NaN", ["application/json"], 400),
        (NESTED % b"-Infinity", ["application/json"], 400),
        (NESTED % b"1e999", ["application/json"], 400),
        (NESTED % (b"9" * 5_000), ["application/json"], 400),
        (NESTED % (b"9" * 30), ["application/json"], 422),
        (NESTED % b'"\\ud800"', ["application/json"], 422),
        (NESTED % b'{"\\udfff": 1}', ["application/json"], 422),
        (NESTED % (b"[" * 9 + b"]" * 9), ["application/json"], 422),
        (NESTED % (b"[" * 7_000 + b"]" * 7_000), ["application/json"], 400),
        (b'{"name":"a\\u0000b","owner":"bob"}', ["application/json"], 422),
        (b'{"name":"x","owner":"b\\u001b[31mob"}', ["application/json"], 422),
        (b'{"name":"\\u202ex","owner":"bob"}', ["application/json"], 422),
        (b'{"\\ud800":"x","name":"x","owner":"bob"}', ["application/json"], 422),
    ],
)
async def test_a_body_is_read_in_one_way(client: Client, body: bytes, content_types: list[str], status: int) -> None:
    """What two readers could read differently, or one of them not at all, is refused before it is kept."""
    headers = [ADMIN, *(("Content-Type", each) for each in content_types)]
    answer = await client.send("POST", f"{BASE}/keys", headers, [body])
    assert (answer.status, answer.header("content-type")) == (status, "application/problem+json"), answer.body
    assert document(await ask(client, "GET", "/keys", query="owner=bob"))["keys"] == []


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"scopes": ["a b"]}, "scopes.0"),
        ({"scopes": ["read", ""]}, "scopes.1"),
        ({"scopes": ['a"']}, "scopes.0"),
        ({"scopes": ["a\\"]}, "scopes.0"),
        ({"scopes": ["é"]}, "scopes.0"),
        ({"scopes": ["a\n"]}, "scopes.0"),
        ({"scopes": ["a" * 129]}, "scopes.0"),
        ({"audiences": [""]}, "audiences.0"),
        ({"audiences": ["/relative"]}, "audiences.0"),
        ({"audiences": ["https://x.example/#f"]}, "audiences.0"),
        ({"audiences": ["https://x.example/ "]}, "audiences.0"),
        ({"audiences": ["https://[x"]}, "audiences.0"),
        ({"audiences": ["https://x.example/" + "a" * 512]}, "audiences.0"),
        ({"tenant": "a\r\nX-Auth-Subject: root"}, "tenant"),
        ({"tenant": " acme"}, "tenant"),
        ({"tenant": "\u2028"}, "tenant"),
        ({"projects": ["a\u0085"]}, "projects.0"),
        ({"level": "user\u0000"}, "level"),
        ({"allowed_ips": ["localhost"]}, "allowed_ips.0"),
        ({"allowed_endpoints": ["GET\t/x"]}, "allowed_endpoints.0"),
        ({"expires": "2030-01-31\n"}, "expires"),
        ({"requests_per_hour": 7.5}, "requests_per_hour"),
        ({"requests_per_hour": True}, "requests_per_hour"),
        ({"requests_per_hour": 2**53}, "requests_per_hour"),
    ],
)
async def test_what_jwts_and_headers_carry_is_checked(client: Client, fields: dict[str, Any], named: str) -> None:
    """Scopes are scope tokens, audiences absolute URIs, names printable: if not, a 422 names it, on PATCH too."""
    key = await issue(client)
    for method, path in (("POST", "/keys"), ("PATCH", f"/keys/{key['key_id']}")):
        body = {**({"name": "x", "owner": "bob"} if method == "POST" else {}), **fields}
        refused = document(await ask(client, method, path, body), 422)
        assert [error["field"] for error in refused["errors"]] == [named]


async def test_a_whole_number_is_one_however_it_is_written(client: Client) -> None:
    """7.0 is 7, as the schema language has it."""
    assert (await issue(client, requests_per_hour=7.0))["requests_per_hour"] == 7


@pytest.mark.parametrize(
    ("path", "raw_path"),
    [
        ("/keys/{}/suspend", "/keys/{}%2Fsuspend"),
        ("/keys/{}/suspend", "/keys/{}%2fsuspend"),
        ("/keys/{}/suspend", "/keys//{}/suspend"),
        ("/keys/{}/suspend", "//keys/{}/suspend"),
        ("/keys/x\\/../{}/suspend", "/keys/x%5C/../{}/suspend"),
    ],
)
async def test_a_path_is_what_a_proxy_saw(client: Client, path: str, raw_path: str) -> None:
    """An encoded or doubled slash leads to no operation: whoever guards paths in front of this reads it otherwise."""
    key = await issue(client)
    answer = await client.send(
        "POST",
        BASE + path.replace("{}", key["key_id"]),
        [ADMIN],
        raw_path=BASE + raw_path.replace("{}", key["key_id"]),
    )
    assert (answer.status, answer.header("content-type")) == (404, "application/problem+json")
    assert await is_good(client, key["api_key"])


@pytest.mark.parametrize(
    "name",
    ["..", ".", "%00", "a\x00b", "\x1b[31m", "é" * 200, "x" * 300, "'; DROP TABLE owners; --", "\u202e", "*"],
)
async def test_odd_ids_name_nothing(client: Client, name: str) -> None:
    """No id but a key's and no name but a user's finds anything."""
    await issue(client)
    for operation in (each for each in OPERATIONS if "{" in each.path):
        path = operation.path.replace("{key_id}", name).replace("{user_id}", name)
        answer = await ask(
            client, operation.method, path, {"name": "x"} if operation.name.startswith("issue") else None
        )
        assert answer.status == 404, (operation.name, answer.body)
    assert len(document(await ask(client, "GET", "/users/alice/keys"))["keys"]) == 1


def packed(*parts: Any) -> str:  # noqa: ANN401 - JSON
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


CURSORS = (
    packed(),
    packed("", 0),
    packed("", 0, [], 1),
    packed(1, 0, []),
    packed("", "0", []),
    packed("", [], []),
    packed("", -1, []),
    packed("", 1.5, []),
    packed("", 0, None),
    packed("", 0, {"a": 1}),
    packed("", 0, [1]),
    packed("", 0, ["x"]),
    packed("", 0, ["00000000"] * 33),
    packed("' OR 1=1 --", 0, []),
    packed("\ud800", 0, []),
    "%C3%A9",
    "=",
    "AAAA",
    base64.urlsafe_b64encode(b"[" * 700).decode(),
)


@pytest.mark.parametrize("cursor", CURSORS)
async def test_a_cursor_of_one_s_own_is_refused(client: Client, cursor: str) -> None:
    """It is a 422 that names the cursor."""
    refused = document(await ask(client, "GET", "/keys", query=f"cursor={cursor}"), 422)
    assert [error["field"] for error in refused["errors"]] == ["cursor"]


@pytest.mark.parametrize("cursor", [packed("", 10**300, []), packed("~", 0, []), packed("zzzz", 5, [])])
async def test_a_cursor_leads_nowhere_else(client: Client, cursor: str) -> None:
    """A well-made one only skips: an owner sees its own keys or none, wherever it points."""
    mine = await issue(client, scopes=["keys:read"])
    await issue(client, owner="bob")
    answer = await ask(client, "GET", "/keys", query=f"cursor={cursor}", who=bearer(mine["api_key"]))
    if answer.status != 422:
        assert {each["owner"] for each in document(answer)["keys"]} <= {"alice"}


async def test_an_owner_pages_through_its_own_keys(client: Client) -> None:
    """The pages of an owner's listing end, with every key told once."""
    mine = await issue(client, scopes=["keys:read"])
    for number in range(4):
        await issue(client, name=f"n{number}")
    found: list[str] = []
    query = "limit=2"
    while query and len(found) < 10:
        page = document(await ask(client, "GET", "/keys", query=query, who=bearer(mine["api_key"])))
        found += [each["key_id"] for each in page["keys"]]
        query = f"limit=2&cursor={page['next_cursor']}" if "next_cursor" in page else ""
    assert len(found) == len(set(found)) == 5


@pytest.mark.parametrize("tags", [("",), (" ",), (",",), ('"x',), ("W/",), ('"a", "b"',), ('"a"', '"b"'), ("\xff",)])
async def test_a_condition_nobody_can_read_is_not_met(client: Client, tags: tuple[str, ...]) -> None:
    """An If-Match of whatever kind without the key's own tag changes nothing."""
    key = await issue(client)
    headers = [("If-Match", tag) for tag in tags]
    answer = await ask(client, "PATCH", f"/keys/{key['key_id']}", {"name": "changed"}, *headers)
    assert answer.status in (400, 412)
    assert document(await ask(client, "GET", f"/keys/{key['key_id']}"))["name"] == "laptop"


async def test_a_condition_in_two_headers_is_one(client: Client) -> None:
    """If-Match lists may come in parts (RFC 9110, 5.3)."""
    key = await issue(client)
    path = f"/keys/{key['key_id']}"
    tag = (await ask(client, "GET", path)).header("etag") or ""
    assert (await ask(client, "PATCH", path, {"name": "y"}, ("If-Match", '"a"'), ("If-Match", tag))).status == 200


@pytest.mark.parametrize("name", ["", " ", "x" * 256, "\xff", "a\x00b", "a\tb"])
async def test_a_request_is_named_in_plain_letters(client: Client, name: str) -> None:
    """An Idempotency-Key that not everybody writes alike is refused, not taken for none: a retry would do it twice."""
    body = {"owner": "alice", "name": "x"}
    assert (await ask(client, "POST", "/keys", body, ("Idempotency-Key", name))).status == 400
    assert document(await ask(client, "GET", "/keys", query="owner=alice"))["keys"] == []


async def test_the_location_is_the_issuer_s(client: Client) -> None:
    """A forged Host changes no address, and nothing but the key's id stands in it."""
    forged = (("Host", "evil.example"), ("X-Forwarded-Host", "evil.example"))
    answer = await ask(client, "POST", "/keys", {"owner": "alice", "name": "x"}, *forged)
    key_id = document(answer, 201)["key_id"]
    assert answer.header("location") == f"http://127.0.0.1:8400/sts/api/v1/keys/{key_id}"


@pytest.mark.parametrize("method", ["PUT", "TRACE", "PROPFIND", "OPTIONS", "get", "X" * 40])
async def test_other_methods_do_nothing(client: Client, method: str) -> None:
    """A method that no operation has is a 405 that lists those there are, with or without a caller."""
    for who in (ADMIN, None):
        answer = await ask(client, method, "/keys/verify-batch", who=who)
        assert (answer.status, answer.header("allow")) == (405, "POST")
        assert answer.header("content-type") == "application/problem+json"


async def test_head_asks_who_calls(client: Client) -> None:
    """HEAD is GET: nobody learns from it whether a key is there."""
    key = await issue(client)
    for key_id in (key["key_id"], "000000000000"):
        assert (await ask(client, "HEAD", f"/keys/{key_id}", who=None)).status == 401


async def test_a_key_s_own_keys_end_with_it(client: Client) -> None:
    """Where no expiry is asked, a key that calls gives none that would outlive it."""
    mine = await issue(client, scopes=["keys:write"], expires="30d")
    issued = document(await ask(client, "POST", "/keys", {"name": "x"}, who=bearer(mine["api_key"])), 201)
    assert issued["expires_at"] == mine["expires_at"]
