"""What a scrape tells of one process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystile.authority.counts import OUTCOMES
from keystile.http.metrics.families import FAMILIES
from unit.scraped import Scrape
from unit.served import bearer, key_id, serving

if TYPE_CHECKING:
    from pathlib import Path

    from unit.served import Client, Prepared

REASONS = ("malformed", "forged", "unknown", "wrong_secret", "suspended", "revoked", "expired", "owner_disabled")
LABELS = {"outcome", "reason", "source", "change", "dependency", "version", "python", "le"}


async def test_verifications_are_told_by_outcome_and_reason(client: Client) -> None:
    """Why keys are refused is seen from outside the audit log; each request counts once."""
    for state in REASONS:
        assert (await client.verify(bearer(client.keys[state]))).status == 401
    for _ in range(3):
        await client.verify(bearer(client.keys["good"]))
    scrape = await Scrape.of(client)
    name = "keystile_verifications_total"
    for reason in REASONS:
        assert scrape.value(name, outcome="refused", reason=reason) == 1, reason
    assert scrape.value(name, outcome="accepted", reason="none") == 3
    assert sum(sample.value for sample in scrape.samples if sample.name == name) == len(REASONS) + 3


async def test_every_outcome_is_told_from_the_start(client: Client) -> None:
    """The first revoked key that somebody uses is a rise from 0, which an alert sees; the sum of all is what came."""
    name, before = "keystile_verifications_total", await Scrape.of(client)
    told = {(sample.labels["outcome"], sample.labels["reason"]) for sample in before.samples if sample.name == name}
    assert told == set(OUTCOMES)
    assert before.value(name, outcome="refused", reason="revoked") == 0
    await client.verify(bearer(client.keys["revoked"]))
    after = await Scrape.of(client)
    assert after.value(name, outcome="refused", reason="revoked") == 1
    assert len(after.samples) == len(before.samples)


async def test_verdicts_are_told_by_where_they_were_read(client: Client) -> None:
    """A key is read from the store once and then from memory, at every door, and so for its JWTs; a refusal nowhere."""
    token = await client.jwt("good")
    for _ in range(4):
        await client.verify(bearer(client.keys["good"]))
    await client.verify(bearer(client.keys["forged"]))
    for _ in range(2):
        await client.verify(bearer(token))
    scrape = await Scrape.of(client)
    reads = {
        sample.labels["source"]: sample.value
        for sample in scrape.samples
        if sample.name == "keystile_verdict_reads_total"
    }
    assert reads == {"process": 4 + 1, "directory": 1 + 1, "redis": 0, "index": 0, "stale": 0}


async def test_limit_refusals_of_addresses_are_told(prepared: Prepared, tmp_path: Path) -> None:
    """Who has spent their failures is counted apart from those nobody could decide on."""
    async with serving(prepared, tmp_path, failures_per_minute=1, stamps="advisory") as client:
        for end in ("AAAAAA", "BBBBBB", "CCCCCC"):
            await client.verify(bearer(client.keys["good"][:-6] + end))
        scrape = await Scrape.of(client)
    assert scrape.value("keystile_verifications_total", outcome="limited", reason="too_many_failures") == 2


async def test_changes_of_keys_are_told(client: Client) -> None:
    """What was done to keys through this server is counted, and what was not, is there with 0."""
    assert (await client.revoke(client.keys["good"])).status == 200
    scrape = await Scrape.of(client)
    assert scrape.value("keystile_key_changes_total", change="revoked") == 1
    assert scrape.value("keystile_key_changes_total", change="issued") == 0


async def test_state_is_told(client: Client) -> None:
    """The log is heard, nothing waits to be written, one worker told its numbers, and what runs is known."""
    await client.verify(bearer(client.keys["good"]))
    scrape = await Scrape.of(client)
    assert (scrape.value("keystile_change_log_age_seconds") or 9.0) < 9.0
    assert scrape.value("keystile_pending_revocations") == 0
    assert scrape.value("keystile_workers") == 1
    assert scrape.value("keystile_verdicts_kept") == 1
    assert scrape.value("keystile_degraded", dependency="change_log") == 0
    (build,) = [sample for sample in scrape.samples if sample.name == "keystile_build_info"]
    assert build.value == 1
    assert build.labels["version"]


async def test_every_metric_says_what_it_is(client: Client) -> None:
    """Each is in the scrape with its help, those without a value too, and none is there that is not in the table."""
    text = (await Scrape.of(client)).text
    told = {line.split()[2] for line in text.splitlines() if line.startswith("# HELP")}
    assert told == {family.samples[0] if family.kind == "counter" else family.name for family in FAMILIES}
    assert all(family.help for family in FAMILIES)


async def test_no_label_names_anybody(client: Client) -> None:
    """However many keys, owners, addresses and paths there are, the series stay the same few."""
    for number, (state, key) in enumerate(client.keys.items()):
        await client.send("GET", f"/sts/verify/path-{number}", [bearer(key)], peer=f"192.0.2.{number + 1}")
        await client.token(bearer(key))
        await client.introspect(key)
        assert state
    before = await Scrape.of(client)
    for number in range(50):
        made_up = f"mcpkey_live_{number:012}_{'a' * 38}"
        await client.send("GET", f"/sts/verify/{number}", [bearer(made_up)], peer=f"198.51.100.{number}")
    after = await Scrape.of(client)
    assert len(after.samples) == len(before.samples)
    assert {label for sample in after.samples for label in sample.labels} <= LABELS
    for key in client.keys.values():
        assert key not in after.text
        assert not key_id(key) or key_id(key) not in after.text
    for word in ("owner of", "192.0.2.", "198.51.100.", "/sts", "path-"):
        assert word not in after.text
    assert len(after.text) < 16_384
