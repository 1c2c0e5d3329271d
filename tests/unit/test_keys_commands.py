"""`keystile keys issue|change|list|usage|events`, typed and read."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from keystile.restrictions import Policy
from unit.typed import Shell

if TYPE_CHECKING:
    from pathlib import Path

CAPABILITIES = [{"resource": "tools/search", "actions": ["call"], "constraints": {"depth": 2}}]
WHOLE_POLICY = {
    "--scope": ("scopes", ["read"]),
    "--audience": ("audiences", ["https://mcp.example.com/mcp"]),
    "--project": ("projects", ["blue"]),
    "--level": ("level", "user"),
    "--tenant": ("tenant", "acme"),
    "--requests-per-hour": ("requests_per_hour", 10),
    "--requests-per-day": ("requests_per_day", 20),
    "--requests-per-month": ("requests_per_month", 30),
    "--cost-cents-per-month": ("cost_cents_per_month", 0),
    "--idle-days": ("idle_days", 7),
    "--allowed-ip": ("allowed_ips", ["192.0.2.0/24"]),
    "--allowed-origin": ("allowed_origins", ["app.example.com"]),
    "--require-tls": ("require_tls", True),
    "--allowed-endpoint": ("allowed_endpoints", ["GET /v1/*"]),
    "--blocked-endpoint": ("blocked_endpoints", ["* /v1/admin"]),
    "--max-tokens-per-request": ("max_tokens_per_request", 100),
    "--max-concurrent-requests": ("max_concurrent_requests", 2),
    "--may-act": ("may_act", ["k3v9x0q2m7ab"]),
    "--act-depth": ("act_depth", 2),
    "--capabilities": ("capabilities", CAPABILITIES),
}


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def typed(folder: Path) -> list[str]:
    """Return all options of a policy as somebody types them."""
    path = folder / "capabilities.json"
    path.write_text(json.dumps(CAPABILITIES))
    words: list[str] = []
    for option, (_, value) in WHOLE_POLICY.items():
        text = str(path) if option == "--capabilities" else str(value[0] if isinstance(value, list) else value)
        words += [option] if value is True else [option, text]
    return words


def test_every_restriction_has_an_option(shell: Shell, tmp_path: Path) -> None:
    """What a policy can say can be typed, when a key is issued and later; `--clear` takes all of it away again."""
    assert {name for name, _ in WHOLE_POLICY.values()} == {each.name for each in fields(Policy)}
    whole, wanted = typed(tmp_path), dict(WHOLE_POLICY.values())
    issued = shell.issue(*whole)
    assert {name: issued[name] for name in wanted} == wanted
    clears = [word for name in wanted for word in ("--clear", name)]
    bare = shell.json("keys", "change", issued["key_id"], *clears)
    assert {name for name in wanted if bare.get(name)} == set()
    changed = shell.json("keys", "change", issued["key_id"], *whole)
    assert {name: changed[name] for name in wanted} == wanted


def test_name_and_expiry_are_changed(shell: Shell) -> None:
    """A key can be called otherwise and end earlier, or never; what is not named stays."""
    issued = shell.issue("--scope", "read", "--expires", "30d")
    changed = shell.json("keys", "change", issued["key_id"], "--name", "desk", "--expires", "2099-01-31")
    assert (changed["name"], changed["expires_at"], changed["scopes"]) == ("desk", "2099-01-31T00:00:00Z", ["read"])
    shown = shell.says("keys", "change", issued["key_id"], "--expires", "never")
    assert "expires_at      None" in shown


REFUSED = {
    "nothing to change": (),
    "secret is none of scopes": ("--clear", "secret"),
    "level is set and cleared": ("--level", "user", "--clear", "level"),
    "idle-days": ("--idle-days", "0"),
    "allowed_ips": ("--allowed-ip", "everywhere"),
    "does not know the level": ("--level", "emperor"),
    "no JSON list": ("--capabilities", "/dev/null"),
}


def test_what_cannot_be_is_refused_in_one_line(shell: Shell) -> None:
    """A wrong option changes nothing, and its message names it."""
    issued = shell.issue()
    for why, words in REFUSED.items():
        refused = shell.run("keys", "change", issued["key_id"], *words)
        assert (refused.returncode != 0, why in refused.stderr.replace("\n", " ")) == (True, True), refused.stderr
    assert shell.json("keys", "show", issued["key_id"])["gen"] == issued["gen"]


def test_list_is_filtered_and_shows_the_level(shell: Shell) -> None:
    """Status, tenant and name each narrow the list; the table has the level."""
    plain, other = shell.issue(), shell.issue("--tenant", "acme", "--level", "tenant", owner="bob")
    shell.says("keys", "suspend", plain["key_id"], "--yes")

    def listed(*words: str) -> list[str]:
        return [each["key_id"] for each in shell.json("keys", "list", *words)["keys"]]

    assert listed("--status", "suspended") == [plain["key_id"]]
    assert listed("--tenant", "acme") == [other["key_id"]]
    assert sorted(listed("--name", "laptop")) == sorted([plain["key_id"], other["key_id"]])
    assert listed("--name", "laptop", "--status", "revoked") == []
    (row,) = [line for line in shell.says("keys", "list").splitlines() if other["key_id"] in line]
    assert [cell.strip() for cell in row.split("│")[1:6]] == [other["key_id"], "bob", "laptop", "active", "tenant"]


def test_usage_tells_requests_and_the_last_use(shell: Shell) -> None:
    """What the command line exchanges is counted too; days without any use are left out of the table."""
    key = shell.issue()
    assert "never, as far as is known" in shell.says("keys", "usage", key["key_id"])
    shell.run("exchange", typed=key["api_key"])
    used = shell.json("keys", "usage", key["key_id"], "--days", "7")
    assert (used["totals"]["requests"], len(used["days"])) == (1, 7)
    table = shell.says("keys", "usage", key["key_id"])
    today = datetime.now(UTC).date().isoformat()
    assert [line.split("│")[1].strip() for line in table.splitlines() if "│" in line] == [today, "in all"]
    assert "last used: 20" in table
    assert "no key" in shell.refusal("keys", "usage", "000000000000")


def test_events_tell_what_happened(shell: Shell) -> None:
    """Newest first, with who did it; a page says where the next one begins."""
    key = shell.issue()
    shell.says("keys", "change", key["key_id"], "--name", "desk")
    events = shell.json("keys", "events", key["key_id"])["events"]
    assert [event["event"] for event in events] == ["key_changed", "key_issued"]
    first = shell.says("keys", "events", key["key_id"], "--limit", "1")
    assert "key_changed" in first
    assert "cli:" in first
    following = first.split("more: --before ")[1].strip()
    rest = shell.json("keys", "events", key["key_id"], "--before", following)
    assert [event["event"] for event in rest["events"]] == ["key_issued"]


def test_no_key_is_given_more_than_the_longest_life(shell: Shell) -> None:
    """Beyond the maximum, and for ever, are refused for new keys and old ones; the default is cut to it."""
    shell.environment["KEYSTILE_MAX_EXPIRY"] = "30d"
    key = shell.issue()
    lives = datetime.fromisoformat(key["expires_at"]) - datetime.fromisoformat(key["issued_at"])
    assert 29 <= lives.days <= 30
    for expires in ("never", "31d", "2099-01-31"):
        assert "30 days at most" in shell.refusal("keys", "change", key["key_id"], "--expires", expires)
        assert "30 days at most" in shell.refusal(
            "keys", "issue", "--owner", "alice", "--name", "x", "--expires", expires
        )
    assert shell.json("keys", "change", key["key_id"], "--expires", "30d", "--name", "renewed")["name"] == "renewed"
