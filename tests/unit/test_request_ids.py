"""How requests are called in audit lines and answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from keystile.http.request_ids import RequestIds, trace_id
from unit.served import bearer, serving

if TYPE_CHECKING:
    from pathlib import Path

    from unit.served import Client, Prepared

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ADMIN_KEY = "a-bootstrap-key-of-32-characters-"


def test_a_trace_is_named_by_its_id() -> None:
    """The header of W3C Trace Context, whatever its flags."""
    for flags in ("00", "01", "ff"):
        assert trace_id(f"00-{TRACE}-{SPAN}-{flags}".encode()) == TRACE


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        TRACE,
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE[:-1]}é-{SPAN}-01",
    ],
)
def test_what_is_no_trace_context_names_none(header: str) -> None:
    """Section 3.2.2 of the recommendation: what is malformed is as good as not sent."""
    assert trace_id(header.encode()) == ""


@pytest.mark.parametrize("given", [b"", b"a" * 65, b"a b", b'"', b"\xe9", b"a\n", b"mcpkey_live_" + b"a" * 50])
def test_a_name_that_is_not_harmless_is_replaced(given: bytes) -> None:
    """A name for a request may break no line, fill no log and hold no key; then the trace names it, else we do."""
    ids = RequestIds()
    assert ids.of(given, TRACE) == TRACE
    first, second = ids.of(given, ""), ids.of(given, "")
    assert first != second
    assert given.decode("latin-1") not in (first, second)


def test_the_caller_s_own_name_comes_first() -> None:
    """Who sends both headers is found by the one that is there for this."""
    assert RequestIds().of(b"r-17", TRACE) == "r-17"


async def test_audit_lines_name_the_request_and_its_trace(prepared: Prepared, tmp_path: Path) -> None:
    """Who is asked about a refusal finds it by either header, without any tracing."""
    log = tmp_path / "audit.log"
    traceparent = ("traceparent", f"00-{TRACE}-{SPAN}-01")
    async with serving(prepared, tmp_path / "store", audit_log=log) as client:
        await client.verify(bearer(client.keys["revoked"]), traceparent)
        await client.verify(bearer(client.keys["revoked"]), traceparent, ("X-Request-Id", "r-17"))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["request_id"], line.get("trace_id")) for line in lines] == [(TRACE, None), ("r-17", TRACE)]


async def test_the_management_api_answers_with_the_name(prepared: Prepared, tmp_path: Path) -> None:
    """Who was let in can tell an operator which request it was; refusals that must look alike have no name."""
    path, named = "/sts/api/v1/whoami", ("X-Request-Id", "r-17")
    async with serving(prepared, tmp_path, admin_key=ADMIN_KEY) as client:

        async def told(key: str, *headers: tuple[str, str], path: str = path, query: str = "") -> str | None:
            return (await client.send("GET", path, [bearer(key), *headers], query=query)).header("x-request-id")

        assert await told(ADMIN_KEY, named) == "r-17"
        assert await told(ADMIN_KEY, named, query="nothing=x") == "r-17"
        assert await told(ADMIN_KEY, named, path="/sts/api/v1/keys/000000000000") is None
        assert len(await told(ADMIN_KEY) or "") > 8
        assert await told(ADMIN_KEY, ("X-Request-Id", ADMIN_KEY)) == "(secret)"
        assert await told(client.keys["forged"], named) is None


async def test_a_fault_of_ours_is_found_by_the_name(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log of an unexpected error names the request, and no key that somebody put into its path."""

    def explode(*_arguments: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("keystile.http.verify_door.credential_of", explode)
    monkeypatch.setattr("keystile.http.app.credential_of", explode)
    key = client.keys["good"]
    assert (await client.verify(("X-Request-Id", "r-17"), path=f"/sts/verify/{key}")).status == 500
    assert (await client.send("POST", "/api/v1/api-keys/validate", [("X-Request-Id", "r-18")])).status == 500
    assert "in request r-17" in caplog.text
    assert "in request r-18" in caplog.text
    assert key[-20:] not in caplog.text
