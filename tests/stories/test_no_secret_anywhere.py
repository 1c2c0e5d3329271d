"""After all stories: no key that was ever issued stands anywhere but with its holder."""

from __future__ import annotations

import gzip
import json
import sqlite3
import zlib
from typing import TYPE_CHECKING, Any

import pytest
import redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stories.keycloak_world import KeycloakWorld
    from stories.world import World


@pytest.mark.last
def test_no_issued_key_is_found_in_logs_redis_or_keycloak(world: KeycloakWorld) -> None:
    """Logs, audit lines, every Redis value of every type, user attributes and admin events hold no issued key."""
    wrong = world.issue(world.add_user())
    world.verify(wrong["api_key"])
    world.exchange(wrong, resource="https://not.allowed/")
    world.verify(wrong["api_key"][:-1] + "~")
    assert len(world.ledger) >= 1
    found = [place for place, text in places(world) if any(_secret(key) in text for key in world.ledger)]
    assert found == []


@pytest.mark.last
def test_no_issued_key_is_found_in_the_embedded_store(embedded: World) -> None:
    """Database, log and audit log of an embedded store hold no issued key."""
    keys = [embedded.issue("alice", f"key {number}") for number in range(3)]
    for key in keys:
        assert embedded.jwt(key)
        embedded.verify(key["api_key"] + "x")
    embedded.revoke(keys[0]["key_id"])
    connection = sqlite3.connect(embedded.folder / "data/keystile.db")
    dump = "\n".join(connection.iterdump())
    connection.close()
    texts = [dump, *(text for _, text in _files(embedded.folder))]
    assert [text[:80] for text in texts if any(_secret(key) in text for key in embedded.ledger)] == []


def _secret(key: str) -> str:
    """Return the private part of a key, what must be nowhere: the last 38 characters, of an older key the last 43."""
    return key[-38:] if len(key) == 63 else key[-43:]


def places(world: KeycloakWorld) -> Iterator[tuple[str, str]]:
    """Return everything that is written anywhere, by the place it stands in."""
    yield from _files(world.folder)
    yield from _files(world.keycloak.log_path.parent)
    yield from _redis(world)
    first = 0
    while users := world.admin.get_users({"first": first, "max": 100, "enabled": True}):
        yield f"users {first}", json.dumps(users)
        first += 100
    yield "admin events", json.dumps(world.admin.get_admin_events({"max": 10_000}))


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix in {".log", ".db", ".aof", ".rdb", ""}:
            content = path.read_bytes()
            yield str(path), (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode("latin-1")


def _redis(world: KeycloakWorld) -> Iterator[tuple[str, str]]:
    with redis.Redis.from_url(world.redis.url) as client:
        for name in client.scan_iter():
            yield f"redis {name!r}", name.decode("latin-1") + _plain(_value(client, name))


def _value(client: redis.Redis, name: bytes) -> Any:  # noqa: ANN401 - of any Redis type
    kind = client.type(name)
    if kind == b"string":
        return client.get(name)
    if kind == b"hash":
        return client.hgetall(name)
    if kind == b"set":
        return client.smembers(name)
    if kind == b"zset":
        return client.zrange(name, 0, -1)
    if kind == b"stream":
        return client.xrange(name)
    if kind == b"list":
        return client.lrange(name, 0, -1)
    raise AssertionError(f"{name!r} has an unknown type {kind!r}")


def _plain(value: object) -> str:
    texts = [str(value)]
    if isinstance(value, bytes):
        try:
            texts.append(zlib.decompress(value).decode("latin-1"))
        except zlib.error:
            texts.append(value.decode("latin-1"))  # it was not compressed
    return "".join(texts)
