from __future__ import annotations

from typing import TYPE_CHECKING

from keystile.wiring import open_deployment
from unit.served import basic, bearer, key_id, serving, settings_in

if TYPE_CHECKING:
    from pathlib import Path

    from unit.served import Prepared


async def test_requests_are_told_when_the_server_ends(prepared: Prepared, tmp_path: Path) -> None:
    """Every request at every door is counted once, prepared answers and JWTs included, and told at the latest then."""
    good, expired = prepared.keys["good"], prepared.keys["expired"]
    agent = ("User-Agent", "curl/8.5")
    async with serving(prepared, tmp_path) as client:
        for _ in range(5):
            answered = await client.verify(bearer(good), agent, path="/sts/verify/orders")
            assert answered.status == 200
        jwt = answered.header("authorization") or ""
        assert (await client.verify(("Authorization", jwt), path="/sts/verify/orders")).status == 200
        for _ in range(2):
            assert (await client.token(basic(key_id(good), good))).status == 200
            assert (await client.verify(bearer(expired))).status == 401
    async with open_deployment(settings_in(tmp_path)) as deployment:
        told = await deployment.usage.usage(key_id(good), 2)
        assert told.totals.requests == 8
        assert told.totals.endpoints == {"/orders": 6, "/sts/token": 2}
        assert told.last_uses.current is not None
        assert (told.last_uses.current.address, told.last_uses.earlier) == ("192.0.2.1", None)
        told = await deployment.usage.usage(key_id(expired), 2)
        assert (told.totals.requests, told.totals.refused) == (0, {"expired": 2})
        assert told.last_uses.latest_at is None


async def test_refusals_and_changes_can_be_asked_for(prepared: Prepared, tmp_path: Path) -> None:
    """What happened to a key is told newest first, with who did it or from where it was tried."""
    revoked = prepared.keys["revoked"]
    async with serving(prepared, tmp_path) as client:
        await client.verify(bearer(revoked), ("X-Request-Id", "r-17"))
    async with open_deployment(settings_in(tmp_path)) as deployment:
        page = await deployment.recent.of_key(key_id(revoked), limit=10)
        events = [(kept.event.event, kept.event.outcome) for kept in page.events]
        assert events == [("revoked_key_used", "refused"), ("key_revoked", "done"), ("key_issued", "done")]
        assert (page.events[0].event.address, page.events[0].event.request_id) == ("192.0.2.1", "r-17")
        assert "test" in (page.events[1].event.actor, page.events[1].event.detail.get("by"))
        owned = await deployment.recent.of_owner("owner of revoked", limit=10)
        assert [kept.id for kept in owned.events] == [kept.id for kept in page.events]
        document = page.events[0].to_document()
        assert document["reason"] == "revoked"
        assert revoked not in repr(document)
