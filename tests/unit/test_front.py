from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jwt
import pytest

from keystile.http.front import Front
from unit.served import FORM, basic, bearer, key_id, serving, settings_in

if TYPE_CHECKING:
    from pathlib import Path

    from unit.served import Client, Prepared

LIMIT = 16_384


def padded(size: int) -> bytes:
    form = b"grant_type=client_credentials&pad="
    return form + b"a" * (size - len(form))


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize(("size", "status"), [(LIMIT, 200), (LIMIT + 1, 413), (LIMIT * 8, 413)])
async def test_bodies_are_bounded(client: Client, size: int, status: int, *, announced: bool) -> None:
    """16 KB and no more, whether the client says so beforehand or not."""
    headers = [FORM, bearer(client.keys["good"])] + ([("Content-Length", str(size))] if announced else [])
    body = padded(size)
    chunks = [body[start : start + 1_000] for start in range(0, size, 1_000)]
    answer = await client.send("POST", "/sts/token", headers, chunks)
    assert answer.status == status
    if status == 413:
        assert answer.json()["error"] == "invalid_request"


@pytest.mark.parametrize("length", ["", "-1", "1e3", "0x10", "9" * 5_000, "\u00b2", "16 384", "+5"])
async def test_length_that_is_no_number_is_refused(client: Client, length: str) -> None:
    """A length nobody can read is as good as too long, and no error of ours."""
    headers = [FORM, bearer(client.keys["good"]), ("Content-Length", length)]
    assert (await client.send("POST", "/sts/token", headers, [padded(100)])).status == 413


@pytest.mark.parametrize("path", ["/", "/sts", "/sts/", "/nothing", "/sts/token/", "/sts/token/x", "/.well-known/x"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_unknown_paths_answer_json(client: Client, path: str, method: str) -> None:
    """Beside OAuth paths a client expects JSON with an `error`, also where there is nothing."""
    answer = await client.send(method, path)
    assert (answer.status, answer.json()) == (404, {"error": "not_found"})


@pytest.mark.parametrize("path", ["/sts/jwks.json", "/healthz", "/api/v1/api-keys/validate"])
async def test_unknown_methods_answer_json(client: Client, path: str) -> None:
    """A method that is not for this path is 405, and says which are."""
    answer = await client.send("PURGE", path)
    assert answer.status == 405
    assert answer.json()["error"]
    assert answer.header("allow")


async def test_jwks_verifies_what_the_token_door_gives(client: Client) -> None:
    """A resource server that reads the JWKS can check our JWTs, and may keep it for a while."""
    token = (await client.token(bearer(client.keys["good"]))).json()["access_token"]
    answer = await client.send("GET", "/sts/jwks.json")
    keys = jwt.PyJWKSet.from_dict(answer.json())
    audience = "http://127.0.0.1:8400/sts/default"
    assert jwt.decode(token, keys[jwt.get_unverified_header(token)["kid"]], ["ES256"], audience=audience)
    assert "max-age" in (answer.header("cache-control") or "")
    assert answer.header("access-control-allow-origin") == "*"


async def test_no_code_flow_yet(client: Client) -> None:
    """The authorization endpoint MCP clients look for says that it has nothing for them."""
    answer = await client.send(
        "GET", "/sts/authorize", query="response_type=code&redirect_uri=https://evil.example.com"
    )
    assert (answer.status, answer.json()) == (400, {"error": "unsupported_response_type"})
    assert answer.header("location") is None


async def test_validate_answers_as_older_gateways_expect(client: Client) -> None:
    """The drop-in endpoint gives the JWT and whose it is."""
    good = client.keys["good"]
    document = (await client.send("POST", "/api/v1/api-keys/validate", [("X-API-Key", good)])).json()
    claims = jwt.decode(document.pop("access_token"), options={"verify_signature": False})
    assert document == {
        "token_type": "Bearer",
        "expires_in": 300,
        "user_id": claims["sub"],
        "username": "owner of good",
        "key_id": key_id(good),
    }


async def test_validate_without_a_key_is_refused(client: Client) -> None:
    """No key is 401, two are 400."""
    path = "/api/v1/api-keys/validate"
    assert (await client.send("POST", path)).status == 401
    two = [("X-API-Key", client.keys["good"]), ("X-API-Key", client.keys["other"])]
    assert (await client.send("POST", path, two)).status == 400


async def test_health_is_told_without_secrets(client: Client) -> None:
    """Liveness, readiness and metrics answer; metrics count outcomes and name no key."""
    await client.verify(basic("", client.keys["good"]))
    await client.verify(bearer(client.keys["good"]))
    assert (await client.send("GET", "/healthz")).json() == {"status": "ok"}
    assert (await client.send("GET", "/readyz")).json() == {"status": "ready", "degraded": []}
    scraped = (await client.send("GET", "/metrics")).body.decode()
    assert 'keystile_verifications_total{outcome="accepted",reason="none"} 1.0' in scraped
    assert 'keystile_verifications_total{outcome="refused",reason="id_mismatch"} 1.0' in scraped
    assert key_id(client.keys["good"]) not in scraped


async def test_failures_of_an_address_are_limited(prepared: Prepared, tmp_path: Path) -> None:
    """Spent failures are 429 with Retry-After, for that address and for keys anybody could have made up."""
    async with serving(prepared, tmp_path, failures_per_minute=1, stamps="advisory") as client:
        made_up = client.keys["good"][:-6]
        assert (await client.verify(bearer(made_up + "AAAAAA"))).status == 401
        answer = await client.verify(bearer(made_up + "BBBBBB"))
        assert (answer.status, answer.json()) == (429, {"error": "too_many_failures"})
        assert 0 < int(answer.header("retry-after") or 0) <= 60
        assert (await client.verify(bearer(client.keys["unknown"]))).status == 401
        assert (await client.verify(bearer(client.keys["good"]))).status == 200
        elsewhere = await client.send("GET", "/sts/verify", [bearer(made_up + "BBBBBB")], peer="192.0.2.2")
        assert elsewhere.status == 401


async def test_fault_of_ours_is_one_plain_answer(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error is 500 without a word about it, at the doors and behind them."""

    def explode(*_arguments: object) -> None:
        raise RuntimeError("very secret")

    monkeypatch.setattr("keystile.http.verify_door.credential_of", explode)
    monkeypatch.setattr("keystile.http.app.credential_of", explode)
    for answer in (await client.verify(), await client.send("POST", "/api/v1/api-keys/validate")):
        assert (answer.status, answer.json()) == (500, {"error": "server_error"})


async def test_start_up_that_fails_is_told_to_the_server(tmp_path: Path) -> None:
    """A worker that cannot open its store says so instead of serving."""
    (tmp_path / "keystile.db").write_bytes(b"no database at all" * 100)
    told: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:  # noqa: ANN401 - ASGI's
        told.append(message)

    await Front(settings_in(tmp_path))({"type": "lifespan"}, receive, send)
    assert [message["type"] for message in told] == ["lifespan.startup.failed"]
