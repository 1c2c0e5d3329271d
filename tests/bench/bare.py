"""What each row is measured against: the least that could do the same, as bare ASGI on the same server."""

from __future__ import annotations

import hmac
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from granian import Granian
from granian.constants import Interfaces
from redis.asyncio import Redis

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    App = Callable[[Any, Any, Any], Awaitable[None]]

_SECRET = b"p" * 32
_KEY_ID = slice(19, 31)  # of `Bearer mcpkey_live_{key id}_…`
_CLAIMS = {"iss": "https://id.example.com/sts", "sub": "owner", "aud": "https://id.example.com/sts/default"}


def verify_app(key: bytes, answer: dict[str, Any]) -> App:
    """Return an app that does one HMAC and one dictionary look-up, and sends the bytes Keystile answered."""
    known = {hmac.digest(_SECRET, key, "sha256"): _headers(answer)}

    async def app(scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        presented = next(value for name, value in scope["headers"] if name == b"authorization")
        headers = known[hmac.digest(_SECRET, presented[7:], "sha256")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    return app


def token_app(key: bytes) -> App:
    """Return an app that parses a form and does one HMAC and one ES256 signature."""
    known = {hmac.digest(_SECRET, key, "sha256")}
    private = ec.generate_private_key(ec.SECP256R1())

    async def app(_scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        form = dict(parse_qsl((await receive())["body"].decode()))
        now = int(time.time())
        if hmac.digest(_SECRET, form["client_secret"].encode(), "sha256") not in known:
            raise PermissionError
        claims = {**_CLAIMS, "iat": now, "exp": now + 300, "jti": os.urandom(16).hex(), "client_id": form["client_id"]}
        token = jwt.encode(claims, private, "ES256", {"typ": "at+jwt", "kid": "x"})
        body = json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": 300}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def introspect_app(jwk: dict[str, Any]) -> App:
    """Return an app that parses a form, verifies one ES256 signature, and answers with the claims."""
    public = jwt.PyJWK(jwk)

    async def app(_scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        form = dict(parse_qsl((await receive())["body"].decode()))
        claims = jwt.decode(form["token"], public, ["ES256"], options={"verify_aud": False})
        body = json.dumps({"active": True, **claims}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def redis_app(url: str, answer: dict[str, Any]) -> App:
    """Return an app that does one redis-py GET, by the key id, and sends the bytes Keystile answered."""
    client = Redis.from_url(url)
    headers = _headers(answer)

    async def app(scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        presented = next(value for name, value in scope["headers"] if name == b"authorization")
        if await client.get(b"bench:" + presented[_KEY_ID]) is None:
            raise LookupError
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    return app


def create() -> App:
    """Return the application that the environment asks for."""
    wanted: dict[str, Any] = json.loads(Path(os.environ["BARE"]).read_text(encoding="utf-8"))
    if wanted["app"] == "verify":
        return verify_app(wanted["key"].encode(), wanted["answer"])
    if wanted["app"] == "introspect":
        return introspect_app(wanted["jwk"])
    if wanted["app"] == "redis":
        return redis_app(wanted["redis"], wanted["answer"])
    return token_app(wanted["key"].encode())


def _headers(answer: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in answer.items()]


if __name__ == "__main__":
    Granian(
        "bench.bare:create",
        factory=True,
        interface=Interfaces.ASGI,
        port=int(sys.argv[1]),
        websockets=False,
        log_enabled=False,
    ).serve()
