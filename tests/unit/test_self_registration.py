"""Self-registration: off unless it is wanted, bounded, and never a way to anything that somebody has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from keystile.authority.lifecycle import KeyRequest
from keystile.restrictions import Policy
from keystile.wiring import open_deployment
from unit.authing import ISSUER, challenged, login, post, signed
from unit.keypairs import KINDS, new_pair, pair
from unit.served import bearer, serving, settings_in
from unit.test_auth_keys import add
from unit.test_token_assertions import register_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from unit.keypairs import Pair
    from unit.served import Answered, Client, Prepared


AS_JSON = (("Content-Type", "application/json"), ("Content-Length", "13"))


@pytest.fixture
async def open_client(prepared: Prepared, tmp_path: Path) -> AsyncIterator[Client]:
    """Serve with self-registration, three a day."""
    async with serving(prepared, tmp_path, self_registration=True, self_registrations_per_day=3) as opened:
        yield opened


async def come(client: Client, by: Pair, handle: str | None = None, **more: Any) -> Answered:  # noqa: ANN401 - fields
    named = {} if handle is None else {"handle": handle}
    return await login(client, by, public_key=by.public.to_jwk(), **named, **more)


async def names(folder: Path) -> set[str]:
    """Return the usernames of all owners with keys."""
    async with open_deployment(settings_in(folder)) as deployment:
        return {owner.username for owner, _ in await deployment.lifecycle.all_keys()}


@pytest.mark.parametrize("kind", KINDS)
async def test_unknown_key_becomes_an_owner(open_client: Client, kind: str) -> None:
    """The first time it is a new key, later it is not; the owner has the name that was wanted, in lower case."""
    first = await come(open_client, pair(kind), "BoB-7")
    said = first.json()
    assert (first.status, said["is_new_key"], said["handle"]) == (200, True, "self-bob-7")
    assert "scope" not in said
    for again in (await come(open_client, pair(kind), "another"), await login(open_client, pair(kind))):
        assert (again.json()["is_new_key"], again.json()["key_id"]) == (False, said["key_id"])
    passed = await open_client.verify(bearer(said["access_token"]))
    assert (passed.status, passed.header("x-auth-username"), passed.header("x-auth-scope")) == (200, "self-bob-7", "-")


async def test_nobody_registers_where_that_is_not_wanted(client: Client, tmp_path: Path) -> None:
    """By default an unknown key is refused, whatever is sent along, and makes nobody."""
    before = await names(tmp_path)
    answer = await come(client, new_pair(), "bob")
    assert (answer.status, answer.json()) == (401, {"error": "invalid_client"})
    assert await names(tmp_path) == before


async def test_key_must_be_held_and_be_the_one_that_was_asked_for(open_client: Client, tmp_path: Path) -> None:
    """The attack: somebody registers another's public key, or signs with one key and sends along another."""
    before = await names(tmp_path)
    victim, mallory = new_pair(), new_pair()
    challenge = await challenged(open_client, victim)
    for by, jwk in ((mallory, victim.public.to_jwk()), (mallory, mallory.public.to_jwk())):
        body = {**signed(by, challenge), "public_key": jwk}
        assert (await post(open_client, "verify", body)).status == 401
    swapped = {**signed(mallory, await challenged(open_client, mallory)), "public_key": victim.public.to_jwk()}
    assert (await post(open_client, "verify", swapped)).status == 401
    assert await names(tmp_path) == before


async def test_handle_of_somebody_is_not_given_again(open_client: Client, tmp_path: Path) -> None:
    """The attack: a name that somebody has, in any case, whether they registered or were there before."""
    assert (await come(open_client, new_pair(), "bob")).status == 200
    async with open_deployment(settings_in(tmp_path)) as deployment:
        request = KeyRequest(owner="self-eve", name="k", issued_by="test", policy=Policy())
        await deployment.lifecycle.issue(request)
    for taken in ("BOB", "eve"):
        answer = await come(open_client, new_pair(), taken)
        assert (answer.status, "access_token" in answer.json()) == (409, False)


@pytest.mark.parametrize(
    "handle", ["", "ab", "-abc", "abc-", "a b", "a/b", "../x", "\u00e4bc", "a_b", "x" * 33, "abc\n", 7, ["abc"]]
)
async def test_handle_is_a_plain_word(open_client: Client, handle: Any) -> None:  # noqa: ANN401 - JSON
    """3 to 32 letters, digits and inner hyphens: nothing that is read otherwise elsewhere."""
    answer = await login(open_client, pair(), public_key=pair().public.to_jwk(), handle=handle)
    assert (answer.status, answer.json()["error"]) == (400, "invalid_request")


async def test_handle_follows_from_the_key_if_none_is_wanted(open_client: Client) -> None:
    """Without a handle the name comes of the key."""
    said = (await come(open_client, pair())).json()
    assert said["handle"] == f"self-{pair().public.lookup[-12:]}"


async def test_day_has_an_end(open_client: Client, tmp_path: Path) -> None:
    """Of one day's number nobody gets more, from whatever address; those who are known come in all the same."""
    for number in range(3):
        assert (await login(open_client, pair(number=number + 1), peer=f"192.0.2.{number}",
                            public_key=pair(number=number + 1).public.to_jwk())).status == 200  # fmt: skip
    before = await names(tmp_path)
    late = await come(open_client, new_pair())
    assert late.status == 429
    assert 0 < int(late.header("retry-after") or "") <= 86_400
    assert (await names(tmp_path), (await come(open_client, pair(number=1))).status) == (before, 200)


async def test_weak_and_private_keys_are_not_registered(open_client: Client) -> None:
    """What could not be registered otherwise cannot be here; a private key is not repeated."""
    jwk = {**pair().public.to_jwk(), "d": "c2VjcmV0"}
    answer = await login(open_client, pair(), public_key=jwk)
    assert (answer.status, "c2VjcmV0" in answer.body.decode()) == (400, False)


async def test_revoked_key_does_not_come_back_as_somebody_new(open_client: Client, tmp_path: Path) -> None:
    """A key that was revoked is refused while its tombstone lives, and not made anybody's again."""
    await register_in(tmp_path, pair(), revoke=True)
    before = await names(tmp_path)
    assert (await come(open_client, pair(), "phoenix")).status == 401
    assert await names(tmp_path) == before


async def manages(client: Client, by: Pair, scope: str) -> tuple[str, str]:
    """Sign in for the management API, and return what to send there."""
    answer = await login(client, by, resource=f"{ISSUER}/api/v1", scope=scope)
    assert answer.status == 200, answer.body
    return bearer(answer.json()["access_token"])


async def test_newcomer_adds_a_second_key_and_ends_the_first(open_client: Client) -> None:
    """Two proofs, one by each key: who changes laptops keeps the name, and needs nobody for it."""
    old, new = new_pair(), new_pair()
    first = (await come(open_client, old, "bob")).json()["key_id"]
    added = await add(
        open_client, new, await manages(open_client, old, "keys:read keys:write"), scopes=["keys:read", "keys:write"]
    )
    assert (added.status, added.json()["owner"]) == (201, "self-bob")
    ended = await open_client.send(
        "DELETE", f"/sts/auth/keys/self-bob/{first}", [await manages(open_client, new, "keys:write")]
    )
    assert ended.status == 200
    assert [(await login(open_client, by)).status for by in (old, new)] == [401, 200]


async def test_newcomer_has_nothing_to_hand_on(open_client: Client) -> None:
    """The attack: who may be anybody asks for scopes, limits and others' keys."""
    await come(open_client, pair(), "bob")
    who = await manages(open_client, pair(), "keys:write")
    for changes in ({"scopes": ["read"]}, {"level": "admin"}, {"owner": "alice"}, {"scopes": ["keys:admin"]}):
        assert (await add(open_client, new_pair(), who, **changes)).status in (403, 422)
    assert (
        await open_client.send("GET", "/sts/auth/keys/alice", [await manages(open_client, pair(), "keys:read")])
    ).status == 403
    assert (await login(open_client, pair(), resource=f"{ISSUER}/api/v1", scope="keys:admin")).status == 400


async def test_newcomer_changes_keys_so_often_and_no_more(open_client: Client) -> None:
    """The attack: anybody comes, and keeps the directory writing. What ends a key is never refused."""
    first = (await come(open_client, pair(), "bob")).json()["key_id"]
    who = await manages(open_client, pair(), "keys:write")
    path = f"/sts/api/v1/keys/{first}"
    seen = [(await open_client.send("PATCH", path, [who, *AS_JSON], [b'{"name": "n"}'])).status for _ in range(21)]
    assert (seen[0], seen[-1]) == (200, 429)
    assert (await open_client.send("POST", f"{path}/revoke", [who])).status == 200
