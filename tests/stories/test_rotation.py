"""A rotation of signing keys under load, seen by verifiers that keep our public keys for as long as they may."""

from __future__ import annotations

import json
import stat
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest

from stack import KeystileServer
from stack.ports import free_port
from stories.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_AGE = 2.0
PATIENCE = 60.0  # seconds for a key to come into use: all processes are heard first, and then it is shown for a while


@dataclass
class Verifier:
    """A service that keeps one process's keys for their whole cache time, and does not ask again because of a JWT."""

    url: str
    issuer: str
    keys: dict[str, Any] = field(default_factory=dict)
    fetched_at: float = float("-inf")

    def check(self, token: str) -> str:
        """Return the `kid` of a good JWT, else raise."""
        if time.monotonic() - self.fetched_at >= MAX_AGE:
            client = jwt.PyJWKClient(f"{self.url}/sts/jwks.json", lifespan=MAX_AGE)
            self.fetched_at = time.monotonic()
            self.keys = {str(key.key_id): key for key in client.get_signing_keys()}
        kid = str(jwt.get_unverified_header(token)["kid"])
        jwt.decode(token, self.keys[kid], ["RS256"], audience=f"{self.issuer}/default", issuer=self.issuer)
        return kid


@dataclass
class Load:
    """JWTs of both doors of every server, each checked by a verifier of each server, and by each server itself."""

    key: dict[str, Any]
    urls: list[str]
    verifiers: list[Verifier]
    latest: dict[str, str] = field(default_factory=dict)
    checked: int = 0
    fault: str = ""
    ends: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Ask until told to end, or until anything is refused."""
        with httpx.Client() as client:
            while not self.ends.is_set():
                try:
                    for url in self.urls:
                        self._ask(client, url)
                except Exception as error:  # noqa: BLE001 - whatever it is, it must not have happened
                    self.fault = repr(error)
                    return

    def _ask(self, client: httpx.Client, url: str) -> None:
        credentials = (self.key["key_id"], self.key["api_key"])
        fresh = client.post(f"{url}/sts/token", data={"grant_type": "client_credentials"}, auth=credentials)
        kept = client.get(f"{url}/sts/verify", headers={"Authorization": f"Bearer {self.key['api_key']}"})
        tokens = {
            "token": fresh.json()["access_token"],
            "verify": kept.headers["authorization"].removeprefix("Bearer "),
        }
        for door, token in tokens.items():
            for verifier in self.verifiers:
                self.latest[f"{door} of {url}"] = verifier.check(token)
            for other in self.urls:
                passed = client.get(f"{other}/sts/verify", headers={"Authorization": f"Bearer {token}"})
                assert passed.status_code == 200, passed.text
            self.checked += 1


@pytest.fixture
def rotating(tmp_path: Path) -> Iterator[tuple[World, KeystileServer]]:
    """Serve one embedded store by two processes whose public keys may be kept for two seconds."""
    port = free_port()
    environment = {
        "KEYSTILE_DATA_DIR": str(tmp_path / "data"),
        "KEYSTILE_PORT": str(port),
        "KEYSTILE_ISSUER": f"http://127.0.0.1:{port}/sts",
        "KEYSTILE_AUDIT_LOG": str(tmp_path / "audit.log"),
        "KEYSTILE_JWKS_MAX_AGE": "2s",
    }
    with (
        KeystileServer(environment, port=port, log_path=tmp_path / "first.log") as first,
        KeystileServer(environment, log_path=tmp_path / "second.log") as second,
    ):
        yield World(first, environment, tmp_path), second


@contextmanager
def under_load(world: World, second: KeystileServer) -> Iterator[Load]:
    """Ask all the time until the block ends; nothing may have been refused then."""
    urls = [world.server.url, second.url]
    load = Load(world.issue("alice", "ci"), urls, [Verifier(url, world.issuer) for url in urls])
    thread = threading.Thread(target=load.run)
    thread.start()
    try:
        yield load
    finally:
        load.ends.set()
        thread.join(PATIENCE)
    assert not load.fault, load.fault


def test_no_jwt_is_refused_while_keys_rotate_under_load(rotating: tuple[World, KeystileServer]) -> None:
    """Next key published before its first use, the old one kept: no verifier meets a key it cannot know (RFC 7517)."""
    world, second = rotating
    with under_load(world, second) as load:
        wait_until(lambda: len(load.latest) == 4, load)
        (first,) = set(load.latest.values())
        made = json.loads(world.cli("signing-keys", "rotate", "--json").stdout)["next"]
        refused = world.cli("signing-keys", "rotate")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert made["file"] in refused.stderr
        wait_until(lambda: set(load.latest.values()) == {made["kid"]}, load)
        checked = load.checked
        wait_until(lambda: load.checked > checked + 20, load)
    listed = json.loads(world.cli("signing-keys", "list", "--json").stdout)
    states = {each["kid"]: each for each in listed["keys"]}
    assert {kid: each["state"] for kid, each in states.items()} == {first: "previous", made["kid"]: "current"}
    assert len(listed["processes"]) == len(states[made["kid"]]["loaded_by"]) == 2
    assert not states[first]["removable"]
    assert world.cli("signing-keys", "purge").stdout == "Nothing to delete.\n"
    folder = Path(world.environment["KEYSTILE_DATA_DIR"]) / "signing-keys"
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
        "rs256.pem": 0o600,
        "rs256-2.pem": 0o600,
    }
    for url in (world.server.url, second.url):
        answer = httpx.get(f"{url}/sts/jwks.json")
        assert answer.headers["cache-control"] == "public, max-age=2"
        assert all(set(key) == {"kty", "n", "e", "kid", "use", "alg"} for key in answer.json()["keys"])


def wait_until(done: Callable[[], bool], load: Load) -> None:
    """Wait for a condition, as long as nothing was refused."""
    end = time.monotonic() + PATIENCE
    while not done():
        assert not load.fault, load.fault
        assert time.monotonic() < end, load.latest
        time.sleep(0.1)  # the condition is another thread's
