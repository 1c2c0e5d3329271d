from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from unit.managing import ADMIN, ADMIN_KEY, BASE, ask, document, is_good, issue
from unit.served import Client, bearer, prepare, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from unit.served import Prepared


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
async def client(prepared: Prepared, tmp_path: Path) -> AsyncIterator[Client]:
    async with serving(prepared, tmp_path, admin_key=ADMIN_KEY, audit_log=tmp_path / "audit.log") as opened:
        yield opened


async def test_a_key_is_issued_used_and_revoked(client: Client) -> None:
    """The first thing an administrator does: a key that works, is shown, listed, and revoked for good."""
    key = await issue(client, scopes=["read"])
    assert await is_good(client, key["api_key"])
    shown = document(await ask(client, "GET", f"/keys/{key['key_id']}"))
    assert (shown["owner"], shown["scopes"], shown["issued_by"]) == ("alice", ["read"], "admin-key")
    assert "api_key" not in shown
    listed = document(await ask(client, "GET", "/keys", query="owner=alice"))
    assert [each["key_id"] for each in listed["keys"]] == [key["key_id"]]
    revoked = document(await ask(client, "POST", f"/keys/{key['key_id']}/revoke", {"reason": "key_compromise"}))
    assert (revoked["status"], revoked["revoked_reason"]) == ("revoked", "key_compromise")
    assert not await is_good(client, key["api_key"])
    assert (await ask(client, "POST", f"/keys/{key['key_id']}/resume")).status == 409


async def test_delete_revokes(client: Client) -> None:
    """DELETE takes no key out of the books: it is shown as revoked."""
    key = await issue(client)
    document(await ask(client, "DELETE", f"/keys/{key['key_id']}"))
    assert document(await ask(client, "GET", f"/keys/{key['key_id']}"))["status"] == "revoked"


async def test_suspend_and_resume(client: Client) -> None:
    """A suspended key is refused until it is resumed."""
    key = await issue(client)
    assert document(await ask(client, "POST", f"/keys/{key['key_id']}/suspend"))["status"] == "suspended"
    assert not await is_good(client, key["api_key"])
    assert document(await ask(client, "POST", f"/keys/{key['key_id']}/resume"))["status"] == "active"
    assert await is_good(client, key["api_key"])


async def test_rotate_keeps_the_id_and_the_old_secret_for_a_while(client: Client) -> None:
    """Both secrets work within the grace; without one the old secret is dead when the answer is there."""
    key = await issue(client)
    rotated = document(await ask(client, "POST", f"/keys/{key['key_id']}/rotate", {"grace": 60}))
    assert rotated["key_id"] == key["key_id"]
    assert [await is_good(client, each["api_key"]) for each in (key, rotated)] == [True, True]
    last = document(await ask(client, "POST", f"/keys/{key['key_id']}/rotate", {"grace": 0}))
    assert [await is_good(client, each["api_key"]) for each in (key, rotated, last)] == [False, False, True]


async def test_change_is_conditional(client: Client) -> None:
    """If-Match with the tag of another state changes nothing."""
    key = await issue(client, scopes=["read", "write"])
    path = f"/keys/{key['key_id']}"
    tag = (await ask(client, "GET", path)).header("etag")
    assert tag is not None
    changed = await ask(client, "PATCH", path, {"scopes": ["read"], "name": "desk"}, ("If-Match", tag))
    assert (document(changed)["scopes"], document(changed)["name"]) == (["read"], "desk")
    assert changed.header("etag") != tag
    assert (await ask(client, "PATCH", path, {"name": "other"}, ("If-Match", tag))).status == 412
    assert document(await ask(client, "GET", path))["name"] == "desk"
    assert document(await ask(client, "PATCH", path, {"scopes": None}))["scopes"] == []


async def test_a_request_sent_twice_is_done_once(client: Client) -> None:
    """The same Idempotency-Key and body: the same key, without its secret; another body is refused."""
    body = {"owner": "alice", "name": "laptop"}
    first = document(await ask(client, "POST", "/keys", body, ("Idempotency-Key", "one")), 201)
    again = document(await ask(client, "POST", "/keys", body, ("Idempotency-Key", "one")))
    assert again["key_id"] == first["key_id"]
    assert "api_key" not in again
    assert "rotate" in again["note"]
    assert (await ask(client, "POST", "/keys", {**body, "name": "desk"}, ("Idempotency-Key", "one"))).status == 422
    other = document(await ask(client, "POST", "/keys", body, ("Idempotency-Key", "two")), 201)
    assert other["key_id"] != first["key_id"]
    path = f"/keys/{first['key_id']}/rotate"
    rotated = document(await ask(client, "POST", path, {"grace": 60}, ("Idempotency-Key", "three")))
    assert "api_key" not in document(await ask(client, "POST", path, {"grace": 60}, ("Idempotency-Key", "three")))
    assert await is_good(client, rotated["api_key"])


@pytest.mark.parametrize("grace", ["31d", "99999h", -1, "soon", 1.5, None, "7 d", True])
async def test_a_grace_that_is_none_is_named(client: Client, grace: object) -> None:
    """A rotation takes seconds or a text like 7d, up to 30 days, and changes nothing for anything else."""
    key = await issue(client)
    answer = await ask(client, "POST", f"/keys/{key['key_id']}/rotate", {"grace": grace})
    assert any(error["field"].startswith("grace") for error in document(answer, 422)["errors"])
    assert await is_good(client, key["api_key"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"owner": "alice"}, "name"),
        ({"owner": "alice", "name": ""}, "name"),
        ({"owner": "alice", "name": "x", "colour": "red"}, "colour"),
        ({"owner": "alice", "name": "x", "scopes": "read"}, "scopes"),
        ({"owner": "alice", "name": "x", "scopes": ["a"] * 51}, "scopes"),
        ({"owner": "alice", "name": "x", "requests_per_hour": -1}, "requests_per_hour"),
        ({"owner": "alice", "name": "x", "requests_per_hour": "7"}, "requests_per_hour"),
        ({"owner": "alice", "name": "x", "expires": "soon"}, "expires"),
        ({"owner": "alice", "name": "x", "expires": "2020-01-01"}, "expires"),
        ({"owner": "alice", "name": "x", "environment": "prod"}, "environment"),
        ({"owner": "alice", "name": "x", "allowed_ips": ["10.0.0.0/99"]}, "allowed_ips"),
        ({"owner": "alice", "name": "x", "level": "emperor"}, "level"),
    ],
)
async def test_what_is_wrong_is_named(client: Client, body: dict[str, Any], field: str) -> None:
    """A bad field is a 422 problem that names it, unknown ones too; nothing is issued."""
    answer = await ask(client, "POST", "/keys", body)
    problem = document(answer, 422)
    assert answer.header("content-type") == "application/problem+json"
    assert problem["status"] == 422
    assert field in [error["field"] for error in problem["errors"]]
    assert document(await ask(client, "GET", "/keys", query="owner=alice"))["keys"] == []


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 422),
        (b"null", "application/json", 422),
        (b'{"name":"x"}', "text/plain", 415),
        (b"name=x", "application/x-www-form-urlencoded", 415),
        (b"\xff\xfe", "application/json", 400),
        (b'{"name":"' + b"x" * 17_000 + b'"}', "application/json", 413),
    ],
)
async def test_bad_bodies_are_problems(client: Client, body: bytes, content_type: str, status: int) -> None:
    """Whatever a client sends, it gets a problem document and no stack trace."""
    headers = [ADMIN, ("Content-Type", content_type), ("Content-Length", str(len(body)))]
    answer = await client.send("POST", f"{BASE}/keys", headers, [body])
    assert (answer.status, answer.header("content-type")) == (status, "application/problem+json")


async def test_without_a_credential_nothing_is_told(client: Client) -> None:
    """Every operation asks who calls before anything else; only the description of the API is open."""
    paths = json.loads((await client.send("GET", "/openapi.json")).body)["paths"]
    for path, methods in paths.items():
        for method in methods:
            filled = path.replace("{key_id}", "000000000000").replace("{user_id}", "alice")
            for who in (None, bearer("nonsense"), bearer(client.keys["unknown"]), bearer(client.keys["revoked"])):
                answer = await ask(client, method.upper(), filled, who=who)
                assert answer.status == 401, (method, path, answer.status)
                assert answer.header("www-authenticate") == "Bearer"


async def test_an_ordinary_key_may_not_come_in(client: Client) -> None:
    """A good key without a keys: scope is told that it is not allowed, whatever it asks."""
    assert (await ask(client, "GET", "/whoami", who=bearer(client.keys["good"]))).status == 403


async def test_unknown_paths_and_methods_are_problems(client: Client) -> None:
    """404 and 405 below the API are problem documents, with `Allow`."""
    missing = await ask(client, "GET", "/nothing")
    assert (missing.status, missing.header("content-type")) == (404, "application/problem+json")
    wrong = await ask(client, "PUT", "/keys")
    assert (wrong.status, wrong.header("content-type")) == (405, "application/problem+json")
    assert set((wrong.header("allow") or "").split(", ")) == {"GET", "HEAD", "POST"}


async def test_listing_goes_page_by_page(client: Client) -> None:
    """Pages of any size tell every key once, and end."""
    for number in range(7):
        await issue(client, owner=f"user {number % 4}", name=f"n{number}")
    everything = [each["key_id"] for each in document(await ask(client, "GET", "/keys", query="limit=200"))["keys"]]
    for limit in (1, 2, 3, 5):
        found: list[str] = []
        query = f"limit={limit}"
        while query:
            page = document(await ask(client, "GET", "/keys", query=query))
            found += [each["key_id"] for each in page["keys"]]
            query = f"limit={limit}&cursor={page['next_cursor']}" if "next_cursor" in page else ""
        assert found == everything
    by_name = document(await ask(client, "GET", "/keys", query="name=n3"))["keys"]
    assert [each["name"] for each in by_name] == ["n3"]
    suspended = document(await ask(client, "GET", "/keys", query="status=suspended"))["keys"]
    assert {each["status"] for each in suspended} == {"suspended"}


@pytest.mark.parametrize(
    "query", ["cursor=abc", "cursor=W10", "limit=0", "limit=201", "status=lost", "colour=red", "limit=1&limit=2"]
)
async def test_bad_queries_are_refused(client: Client, query: str) -> None:
    """A cursor of somebody's own making, or a filter that is none, is said to be that."""
    assert (await ask(client, "GET", "/keys", query=query)).status in (400, 422)


async def test_keys_of_a_user(client: Client) -> None:
    """A user is named by id or username; all of its keys end with one request."""
    first = document(await ask(client, "POST", "/users/alice/keys", {"name": "one"}), 404)
    assert first["status"] == 404
    key = await issue(client, name="one")
    second = document(await ask(client, "POST", f"/users/{key['owner_id']}/keys", {"name": "two"}), 201)
    listed = document(await ask(client, "GET", "/users/alice/keys"))["keys"]
    assert {each["name"] for each in listed} == {"one", "two"}
    ended = document(await ask(client, "POST", "/users/alice/keys/revoke-all", {"reason": "privilege_withdrawn"}))
    assert set(ended["revoked"]) == {key["key_id"], second["key_id"]}
    assert not await is_good(client, second["api_key"])


async def test_verify_many(client: Client) -> None:
    """A batch is answered in order; what is wrong with a bad key is not told."""
    texts = [client.keys[name] for name in ("good", "revoked", "unknown", "forged", "malformed")]
    results = document(await ask(client, "POST", "/keys/verify-batch", {"keys": texts}))["results"]
    assert results[0]["active"] is True
    assert results[0]["scopes"] == ["read", "write"]
    assert results[1:] == [{"active": False}] * 4
    assert (await ask(client, "POST", "/keys/verify-batch", {"keys": ["x"] * 101})).status == 422


async def test_use_and_events_are_told(client: Client) -> None:
    """What a service reports, and what was audited, is told about the key it is about."""
    key = await issue(client)
    path = f"/keys/{key['key_id']}"
    assert (await ask(client, "POST", f"{path}/usage", {"cost_cents": 7, "tokens": 100})).status == 204
    assert (await ask(client, "POST", f"{path}/usage", {"cost_cents": -7})).status == 422
    assert (await client.verify(bearer(key["api_key"]))).status == 200
    usage = document(await ask(client, "GET", f"{path}/usage", query="days=7"))
    assert usage["key_id"] == key["key_id"]
    document(await ask(client, "GET", f"{path}/events"))
    assert (await ask(client, "GET", f"{path}/usage", query="days=0")).status == 422


async def test_a_request_is_known_whoever_it_is_about(client: Client) -> None:
    """The same Idempotency-Key for another owner is another request; use reported twice counts once."""
    one, again = ("Idempotency-Key", "one"), ("Idempotency-Key", "two")
    key = document(await ask(client, "POST", "/keys", {"owner": "alice", "name": "x"}, one), 201)
    assert (await ask(client, "POST", "/keys", {"owner": "bob", "name": "x"}, one)).status == 422
    path = f"/keys/{key['key_id']}/usage"
    for _ in range(2):
        assert (await ask(client, "POST", path, {"cost_cents": 7}, again)).status == 204
    assert (await ask(client, "POST", path, {"cost_cents": 8}, again)).status == 422


async def test_a_request_that_failed_may_be_sent_again(client: Client) -> None:
    """What was refused was not done: sent again under the same name it is tried anew."""
    named, body = ("Idempotency-Key", "one"), {"owner": "alice", "name": "sixth"}
    keys = [await issue(client) for _ in range(5)]
    assert (await ask(client, "POST", "/keys", body, named)).status == 409
    document(await ask(client, "DELETE", f"/keys/{keys[0]['key_id']}"))
    document(await ask(client, "POST", "/keys", body, named), 201)


async def test_a_key_tells_its_last_use(client: Client) -> None:
    """Whoever looks at a key sees when and from where it was used; one that never was has no such fields."""
    key = await issue(client)
    assert "last_used_at" not in document(await ask(client, "GET", f"/keys/{key['key_id']}"))
    assert await is_good(client, key["api_key"])
    shown = key
    async with asyncio.timeout(10):  # a process tells the store every three seconds
        while "last_used_at" not in shown:
            await asyncio.sleep(0.2)
            shown = document(await ask(client, "GET", f"/keys/{key['key_id']}"))
    assert shown["last_used_ip"] == "192.0.2.1"
    assert shown["last_used_at"] >= shown["issued_at"]


async def test_whoami(client: Client) -> None:
    """A caller learns as what it came in."""
    assert document(await ask(client, "GET", "/whoami"))["kind"] == "admin_key"
    key = await issue(client, scopes=["keys:read"])
    told = document(await ask(client, "GET", "/whoami", who=bearer(key["api_key"])))
    assert (told["kind"], told["username"], told["key_id"]) == ("key", "alice", key["key_id"])


async def test_an_owner_sees_its_own_keys_alone(client: Client) -> None:
    """Of others' keys not even the existence is told."""
    mine = await issue(client, scopes=["keys:read", "keys:write"])
    other = await issue(client, owner="bob")
    who = bearer(mine["api_key"])
    listed = document(await ask(client, "GET", "/keys", who=who))["keys"]
    assert [each["key_id"] for each in listed] == [mine["key_id"]]
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/suspend"), ("POST", "/rotate"), ("GET", "/usage")):
        assert (await ask(client, method, f"/keys/{other['key_id']}{path}", who=who)).status == 404
        assert (await ask(client, method, f"/keys/000000000000{path}", who=who)).status == 404
    for name in ("bob", "nobody"):
        assert (await ask(client, "POST", f"/users/{name}/keys", {"name": "x"}, who=who)).status == 403
        assert (await ask(client, "GET", f"/users/{name}/keys", who=who)).status == 403
    assert (await ask(client, "POST", "/keys", {"name": "x", "owner": "bob"}, who=who)).status == 403
    assert await is_good(client, other["api_key"])


async def test_a_key_issues_no_more_than_it_has(client: Client) -> None:
    """Scopes, audiences, expiry and environment of a new key stay within those of the key that asks."""
    mine = await issue(client, scopes=["keys:write", "read"], expires="30d", allowed_ips=[])
    who = bearer(mine["api_key"])
    for more in (
        {"scopes": ["read", "admin"]},
        {"scopes": ["keys:admin"]},
        {"audiences": ["https://mcp.example.com/mcp"]},
        {"expires": "90d"},
        {"expires": "never"},
        {"environment": "test"},
        {"requests_per_hour": 5},
        {"level": "admin"},
    ):
        answer = await ask(client, "POST", "/keys", {"name": "x", "expires": "1d", **more}, who=who)
        assert answer.status == 403, (more, answer.body)
    less = document(
        await ask(client, "POST", "/keys", {"name": "x", "expires": "1d", "scopes": ["read"]}, who=who), 201
    )
    assert less["issued_by"] == f"key:{mine['key_id']}"


async def test_an_owner_only_narrows(client: Client) -> None:
    """An owner takes away from its keys, and never adds."""
    mine = await issue(client, scopes=["keys:write", "read", "write"], projects=["p", "q"])
    who, path = bearer(mine["api_key"]), f"/keys/{mine['key_id']}"
    assert (await ask(client, "PATCH", path, {"projects": ["p"]}, who=who)).status == 200
    for more in (
        {"projects": ["p", "q"]},
        {"projects": None},
        {"scopes": ["keys:write", "read", "more"]},
        {"level": "user"},
    ):
        assert (await ask(client, "PATCH", path, more, who=who)).status == 403


async def test_no_answer_but_the_first_shows_a_key(client: Client) -> None:
    """Neither secrets nor hashes are in anything the API tells later."""
    key = await issue(client)
    secret = key["api_key"][-38:-6]
    told = b""
    for path in ("/keys", f"/keys/{key['key_id']}", f"/keys/{key['key_id']}/events", f"/keys/{key['key_id']}/usage"):
        told += (await ask(client, "GET", path)).body
    assert secret.encode() not in told
    assert b"$2b$" not in told
    assert b"digest" not in told


async def test_changes_and_refusals_are_audited_with_who_asked(client: Client, tmp_path: Path) -> None:
    """Each line names actor, address and request; a refusal what was asked, also of a key that may not come in."""
    key = await issue(client, scopes=["keys:read"], tenant="acme")
    path = f"/keys/{key['key_id']}"
    assert (await ask(client, "POST", f"{path}/suspend", None, ("X-Request-Id", "r1"))).status == 200
    assert (await ask(client, "POST", f"{path}/resume")).status == 200
    answer = await ask(client, "DELETE", path, None, ("X-Request-Id", "r2"), who=bearer(key["api_key"]))
    assert answer.status == 403
    plain = await ask(client, "DELETE", path, None, ("X-Request-Id", "r3"), who=bearer(client.keys["good"]))
    assert plain.status == 403
    lines = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    said = {line.get("request_id"): line for line in lines if line["event"] in ("key_suspended", "management_refused")}
    wanted = {"actor": "admin-key", "address": "192.0.2.1", "owner": "alice", "tenant": "acme", "outcome": "done"}
    assert wanted.items() <= said["r1"].items()
    refused = {"actor": f"key:{key['key_id']}", "key_id": key["key_id"], "action": "revoke", "outcome": "refused"}
    assert refused.items() <= said["r2"].items()
    assert {"address": "192.0.2.1", "action": "revoke", "outcome": "refused"}.items() <= said["r3"].items()
