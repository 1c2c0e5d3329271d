"""`/sts/auth/keys`: adding by two proofs, listing and revoking; whoever lacks one of them, or asks for another's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from keystile.authority.lifecycle import KeyRequest
from keystile.restrictions import Policy
from keystile.wiring import open_deployment
from unit.authing import challenged, post, signed
from unit.keypairs import KINDS, new_pair, pair
from unit.managing import ADMIN, ADMIN_KEY
from unit.served import bearer, serving, settings_in
from unit.test_token_assertions import register_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from unit.keypairs import Pair
    from unit.served import Answered, Client, Prepared


@pytest.fixture
async def client(prepared: Prepared, tmp_path: Path) -> AsyncIterator[Client]:
    async with serving(prepared, tmp_path, admin_key=ADMIN_KEY) as opened:
        yield opened


async def key_of(folder: Path, owner: str = "alice", **policy: Any) -> tuple[str, str]:  # noqa: ANN401 - fields of the policy
    """Issue an API key for that owner, and return it as a bearer credential."""
    wanted = Policy(**{"scopes": ("keys:read", "keys:write", "read"), **policy})
    async with open_deployment(settings_in(folder)) as deployment:
        request = KeyRequest(owner=owner, name="first", issued_by="test", policy=wanted)
        return bearer((await deployment.lifecycle.issue(request)).key.reveal())


async def add(client: Client, by: Pair, who: tuple[str, str] | None, **changes: Any) -> Answered:  # noqa: ANN401 - fields
    proof = signed(by, await challenged(client, by, purpose="add-key"))
    body = {name: proof[name] for name in ("alg", "nonce", "signature")}
    body |= {"public_key": by.public.to_jwk(), "name": "phone", **changes}
    return await post(client, "keys", body, *([who] if who else []))


@pytest.mark.parametrize("kind", KINDS)
async def test_key_is_added_by_two_proofs(client: Client, tmp_path: Path, kind: str) -> None:
    """A good credential and the new key's signature add it to the caller's own, within what the caller has."""
    who = await key_of(tmp_path)
    answer = await add(client, pair(kind), who, scopes=["read"], expires="1d")
    shown = answer.json()
    assert answer.status == 201, answer.body
    assert (shown["owner"], shown["fingerprint"], shown["scopes"]) == ("alice", pair(kind).public.fingerprint, ["read"])
    assert shown["issued_by"].startswith("key:")
    body = signed(pair(kind), await challenged(client, pair(kind)))
    assert (await post(client, "verify", body)).json()["key_id"] == shown["key_id"]


async def test_no_key_is_added_without_both_proofs(client: Client, tmp_path: Path) -> None:
    """Nobody's credential, a bad one, another's signature, a login's signature, a used nonce: nothing is added."""
    who, by = await key_of(tmp_path), new_pair()
    login = signed(by, await challenged(client, by))
    stolen = signed(new_pair(), await challenged(client, by, purpose="add-key"))
    for sender, changes in (
        (None, {}),
        (bearer(client.keys["revoked"]), {}),
        (bearer("nonsense"), {}),
        (who, {"nonce": login["nonce"], "signature": login["signature"]}),
        (who, {"nonce": stolen["nonce"], "signature": stolen["signature"]}),
        (who, {"nonce": "A" * 51}),
    ):
        assert (await add(client, by, sender, **changes)).status == 401
    listed = await client.send("GET", "/sts/auth/keys/alice", [who])
    assert listed.json() == {"keys": []}


async def test_nonce_adds_one_key_once(client: Client, tmp_path: Path) -> None:
    """The attack: a request that was overheard is sent again by somebody with a credential of their own."""
    who, mallory = await key_of(tmp_path), await key_of(tmp_path, "mallory")
    by = new_pair()
    proof = signed(by, await challenged(client, by, purpose="add-key"))
    body = {name: proof[name] for name in ("alg", "nonce", "signature")}
    body |= {"public_key": by.public.to_jwk(), "name": "phone"}
    assert (await post(client, "keys", body, who)).status == 201
    assert (await post(client, "keys", body, mallory)).status == 401
    taken = await add(client, by, mallory)
    assert (taken.status, "registered already" in taken.body.decode()) == (422, True)


async def test_key_that_adds_gives_no_more_than_it_has(client: Client, tmp_path: Path) -> None:
    """The attack: a key with little adds a key with much. Without `keys:write` it adds none."""
    who = await key_of(tmp_path)
    assert (await add(client, new_pair(), who, scopes=["write"])).status == 403
    assert (await add(client, new_pair(), who, level="admin")).status == 403
    assert (await add(client, new_pair(), bearer(client.keys["good"]))).status == 403
    assert (await add(client, new_pair(), await key_of(tmp_path, "bob", scopes=("keys:read",)))).status == 403
    assert (await add(client, new_pair(), ADMIN)).status == 422


BAD: dict[str, dict[str, Any]] = {
    "a private key": {"public_key": {**pair().public.to_jwk(), "d": "c2VjcmV0"}},
    "no key": {"public_key": {}},
    "a text": {"public_key": "x"},
    "another algorithm": {"alg": "HS256"},
    "no base64url": {"signature": "a+b"},
    "an owner": {"owner": "bob"},
    "no name": {"name": ""},
}


@pytest.mark.parametrize("changes", BAD.values(), ids=BAD)
async def test_what_cannot_be_added_is_not_valid(client: Client, tmp_path: Path, changes: dict[str, Any]) -> None:
    """Every field is bounded, and none besides; a private key is not repeated."""
    answer = await add(client, pair(), await key_of(tmp_path), **changes)
    assert (answer.status, answer.header("content-type")) == (422, "application/problem+json")
    assert "c2VjcmV0" not in answer.body.decode()


async def test_public_keys_are_seen_and_revoked_by_owner_and_admins_alone(client: Client, tmp_path: Path) -> None:
    """Somebody else is told nothing, and revokes nothing; twice is as good as once."""
    who, mallory = await key_of(tmp_path), await key_of(tmp_path, "mallory")
    key_id = await register_in(tmp_path, pair(), "alice")
    path = f"/sts/auth/keys/alice/{key_id}"
    assert (await client.send("GET", "/sts/auth/keys/alice", [mallory])).status == 403
    assert (await client.send("DELETE", path, [mallory])).status == 404
    assert (await client.send("DELETE", path)).status == 401
    for sender in (who, ADMIN):
        listed = (await client.send("GET", "/sts/auth/keys/alice", [sender])).json()["keys"]
        assert [each["key_id"] for each in listed] == [key_id]
        assert (await client.send("DELETE", path, [sender])).status == 200
    refused = await post(client, "verify", signed(pair(), await challenged(client, pair())))
    assert refused.status == 401


async def test_path_names_owner_and_key(client: Client, tmp_path: Path) -> None:
    """A key of another owner, and one with a secret, is no public key of this one."""
    who = await key_of(tmp_path)
    key_id = await register_in(tmp_path, pair(), "bob")
    secret = who[1].split("_")[2]
    for path in (f"alice/{key_id}", f"alice/{secret}", "alice/k3v9x0q2m7ab"):
        assert (await client.send("DELETE", f"/sts/auth/keys/{path}", [ADMIN])).status == 404
    path, raw = f"/sts/auth/keys/bob/{key_id}", f"/sts/auth/keys/bob%2F{key_id}"
    assert (await client.send("DELETE", path, [ADMIN], raw_path=raw)).status == 404


async def test_every_request_is_counted(client: Client) -> None:
    """Twenty a minute from one address, here too, before a credential is looked at."""
    for _ in range(20):
        assert (await client.send("GET", "/sts/auth/keys/alice")).status == 401
    answer = await client.send("GET", "/sts/auth/keys/alice", [ADMIN])
    assert (answer.status, answer.header("content-type")) == (429, "application/problem+json")
