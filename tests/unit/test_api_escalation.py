"""Ways from less to more that were found by attack, each closed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from keystile.authority.lifecycle import KeyRequest
from keystile.records import MAX_TOMBSTONES
from keystile.restrictions import Policy
from unit.managing import ADMIN_KEY, ask, document, issue, jwt_of
from unit.served import bearer, prepare, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from unit.served import Client, Prepared
    from unit.world import World


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
async def client(prepared: Prepared, tmp_path: Path) -> AsyncIterator[Client]:
    async with serving(prepared, tmp_path, admin_key=ADMIN_KEY, audit_log=tmp_path / "audit.log") as opened:
        yield opened


async def rotate(client: Client, key: dict[str, Any], **asking: Any) -> Any:  # noqa: ANN401 - JSON
    return await ask(client, "POST", f"/keys/{key['key_id']}/rotate", {"grace": 600}, **asking)


async def test_a_secret_that_was_rotated_away_gets_no_other(client: Client) -> None:
    """Neither the old secret nor a JWT by it rotates the key, or issues one that outlives the grace."""
    key = await issue(client, scopes=["keys:write"])
    document(await rotate(client, key))
    for credential in (key["api_key"], await jwt_of(client, key, "keys:write")):
        who = bearer(credential)
        assert (await rotate(client, key, who=who)).status == 403
        longer = await ask(client, "POST", "/keys", {"name": "x", "expires": "30d"}, who=who)
        assert longer.status == 403


async def test_a_jwt_that_was_asked_for_with_less_gives_no_more(client: Client) -> None:
    """What a JWT was not asked for, it hands to no key: not by rotating, and not by issuing."""
    key = await issue(client, scopes=["keys:write", "keys:admin", "deploy"])
    who = bearer(await jwt_of(client, key, "keys:write"))
    assert (await rotate(client, key, who=who)).status == 403
    more = await ask(client, "POST", "/keys", {"name": "x", "expires": "1d", "scopes": ["deploy"]}, who=who)
    assert more.status == 403
    who = bearer(await jwt_of(client, key, "keys:write"))
    less = await ask(client, "POST", "/keys", {"name": "x", "expires": "1d"}, who=who)
    assert document(less, 201)["scopes"] == []


async def test_a_limited_key_issues_none(client: Client) -> None:
    """Each key it issued would have its limit anew."""
    key = await issue(client, scopes=["keys:write"], requests_per_hour=1000)
    answer = await ask(client, "POST", "/keys", {"name": "x", "expires": "1d"}, who=bearer(key["api_key"]))
    assert answer.status == 403


async def test_keys_of_a_moment_fill_nothing(world: World) -> None:
    """However many short keys an owner issues, few records are kept whole: what expired shrinks to make room."""
    lifecycle = replace(world.here.lifecycle, max_keys_per_owner=2)
    for number in range(20):
        expires_at = world.time.now() + timedelta(seconds=1)
        request = KeyRequest(owner="carol", name=f"n{number}", issued_by="t", expires_at=expires_at, policy=Policy())
        owner = (await lifecycle.issue(request)).owner
        await world.pass_time(2)
    assert len(owner.records) <= 2 + MAX_TOMBSTONES
    assert sum(not record.is_dead for record in owner.records) <= 2


async def test_refusals_do_not_wash_out_the_audit(client: Client, tmp_path: Path) -> None:
    """What a caller writes into a path names no key in the audit, and one that may not come in is named itself."""
    who = bearer(client.keys["good"])
    for number in range(30):
        assert (await ask(client, "GET", f"/keys/{number:012}", who=who)).status == 403
    lines = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    refused = [line for line in lines if line["event"] == "management_refused"]
    assert {line["actor"] for line in refused} == {f"key:{client.keys['good'].split('_')[2]}"}
    assert {line["reason"] for line in refused} == {"show"}


async def test_cascade_follows_a_rotation(client: Client) -> None:
    """Who rotated a key has a secret of it: revoking that one, with what it got, ends it too."""
    thief = await issue(client, scopes=["keys:write"], expires="90d")
    other = await issue(client, expires="30d")
    got = document(await rotate(client, other, who=bearer(thief["api_key"])))
    assert got["rotated_by"] == f"key:{thief['key_id']}"
    body = {"reason": "key_compromise", "cascade": True}
    document(await ask(client, "POST", f"/keys/{thief['key_id']}/revoke", body))
    assert (await client.verify(bearer(got["api_key"]))).status == 401


async def test_a_batch_vouches_for_no_policy_on_requests(prepared: Prepared, tmp_path: Path) -> None:
    """A key bound to addresses is not active because whoever asks for it has one of them."""
    async with serving(prepared, tmp_path, admin_key=ADMIN_KEY, trusted_proxies=("192.0.2.0/24",)) as client:
        key = await issue(client, allowed_ips=["10.0.0.0/8"])
        asked = {"keys": [key["api_key"]]}
        answer = await ask(client, "POST", "/keys/verify-batch", asked, ("X-Forwarded-For", "10.0.0.5"))
        assert document(answer)["results"] == [{"active": False}]


async def test_changes_that_fail_are_audited(client: Client, tmp_path: Path) -> None:
    """A refusal because of the key's state is in the audit like one for want of a right."""
    key = await issue(client)
    document(await ask(client, "DELETE", f"/keys/{key['key_id']}"))
    assert (await ask(client, "POST", f"/keys/{key['key_id']}/resume")).status == 409
    lines = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert [line["action"] for line in lines if line["event"] == "management_refused"] == ["resume"]


async def test_a_replay_needs_no_more_than_the_request(client: Client) -> None:
    """A key that may only write, and sends a request twice, hears the second time that it was done."""
    key = await issue(client, scopes=["keys:write"])
    who, again = bearer(key["api_key"]), ("Idempotency-Key", "once")
    body = {"name": "x", "expires": "1d"}
    first = document(await ask(client, "POST", "/keys", body, again, who=who), 201)
    second = document(await ask(client, "POST", "/keys", body, again, who=who))
    assert (second["key_id"], "api_key" in second) == (first["key_id"], False)
