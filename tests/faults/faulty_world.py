"""A deployment to break: two Keystile servers, a wire to Keycloak and one to Redis for each, and the truth."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import TYPE_CHECKING

from faults.asking import Reply, ask
from faults.issuing import issue_keys
from stack import KeystileServer
from stack.ports import LOOPBACK
from stack.processes import wait_until
from stack.proxy import Proxy
from stories.conftest import make_environment
from stories.keycloak_world import KeycloakWorld
from truth import Answer, Jwt, Key, Stranger, Truth

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from stack import KeycloakServer, RedisServer

AT_ONCE = 1.0  # seconds: the bound for changes made through Keystile
SOON = 5.0  # seconds: the bound for changes made in Keycloak, and for recovery
PATIENCE = 5.0  # seconds that any answer may take, whatever is broken
_STOCK = 24  # keys issued at a time


@dataclass(frozen=True)
class Held:
    """A credential's text, and what is true of it."""

    text: str
    credential: Key | Jwt | Stranger

    @property
    def key(self) -> Key:
        """The key, where it is one."""
        assert isinstance(self.credential, Key)
        return self.credential


@dataclass
class FaultyWorld:
    """Two servers on one data folder. *world* is the first one's, and its command line takes the first's wires.

    *cuts*: what came instead of an answer.
    """

    world: KeycloakWorld
    second: KeystileServer
    keycloak_wire: Proxy
    redis_wires: tuple[Proxy, Proxy]
    truth: Truth = field(default_factory=lambda: Truth(patience=PATIENCE))
    cuts: list[str] = field(default_factory=list)
    _stock: deque[Held] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.known = self.new_key()
        self.dead = self.new_key()
        self.forged = Held(self.known.text[:-1] + "~", Stranger.FORGED)
        assert self.revoke(self.dead).returncode == 0

    @property
    def servers(self) -> tuple[KeystileServer, KeystileServer]:
        """Both Keystile servers."""
        return self.world.server, self.second

    @property
    def wires(self) -> tuple[Proxy, ...]:
        """All wires."""
        return self.keycloak_wire, *self.redis_wires

    def new_key(self) -> Held:
        """Return a key that no server has seen yet."""
        if not self._stock:
            owners = [self.world.add_user() for _ in range(_STOCK)]
            for owner, (key_id, text) in zip(owners, issue_keys(self.world.environment, owners), strict=True):
                subject = self.world.user(owner)["id"]
                self._stock.append(Held(text, self.truth.key(key_id, self.truth.owner(owner, subject))))
                self.world.ledger.append(text)
        return self._stock.popleft()

    def known_key(self) -> Held:
        """Return a key that both servers know."""
        held = self.new_key()
        self.make_known(held)
        return held

    def make_known(self, held: Held) -> None:
        """Have both servers accept *held*."""
        for server in self.servers:
            self.ask_until(held, 200, server=server)

    def new_jwt(self, held: Held) -> Held:
        """Exchange *held* for a JWT."""
        asked = time.monotonic()
        token = self.world.jwt({"key_id": held.key.key_id, "api_key": held.text})
        return Held(token, self.truth.jwt(held.key, asked=asked, received=time.monotonic(), expires_at=asked + 300))

    def known_jwt(self, held: Held) -> Held:
        """Exchange *held* for a JWT, and have both servers accept it."""
        token = self.new_jwt(held)
        self.make_known(token)
        return token

    def ask(self, held: Held, server: KeystileServer | None = None, **headers: str) -> Reply | None:
        """Ask a server about *held*, and have the answer judged; None if there was none."""
        sent = time.monotonic()
        reply = None
        try:
            port = (server or self.world.server).port
            reply = ask(port, "/sts/verify", {"Authorization": f"Bearer {held.text}", **headers})
        except (OSError, HTTPException) as error:
            self.cuts.append(repr(error))
        status, named = (reply.status, reply.headers) if reply else (None, {})
        self.truth.judge(Answer(held.credential, "verify", status, sent, time.monotonic(), named))
        return reply

    def status(self, held: Held, server: KeystileServer | None = None, **headers: str) -> int | None:
        """Ask, and return the status alone."""
        reply = self.ask(held, server, **headers)
        return None if reply is None else reply.status

    def statuses(self, *held: Held) -> set[int | None]:
        """Ask both servers about each of *held*."""
        return {self.status(one, server) for one in held for server in self.servers}

    def unanswered(self) -> list[str]:
        """Return the latest reasons, from the audit of both servers, why nobody could decide on a key."""
        time.sleep(1.1)  # they are summed up once a second
        lines = (self.world.folder / "audit.log").read_text().splitlines()
        return [line for line in lines if '"unanswered"' in line][-5:]

    def ask_until(self, held: Held, status: int, *, server: KeystileServer | None = None, within: float = SOON) -> None:
        """Ask until the answer is *status*."""
        asked = server or self.world.server
        seen: list[int | None] = []

        def is_wanted() -> bool:
            seen.append(self.status(held, asked))
            return seen[-1] == status

        assert wait_until(is_wanted, within, every=0.1), (asked.log_path.name, seen, status, self.unanswered())

    def revoke(
        self, held: Held, *options: str, bound: float = AT_ONCE, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Revoke a key on the command line; it is in doubt from now on, and dead *bound* after a success."""
        with suppress(NotDoneError), self.truth.ending(held.key, bound=bound):
            arguments = ("keys", "revoke", held.key.key_id, "--yes", *options)
            done = self.world.cli(*arguments, **(environment or {}))
            NotDoneError.unless(done.returncode == 0)
        return done

    def is_written(self, held: Held) -> bool:
        """Tell whether Keycloak itself says that the key is revoked."""
        user = self.world.user(held.key.owner.username)
        return any(held.key.key_id in text and '"revoked"' in text for text in user["attributes"]["apiKeys"])

    def is_whole(self) -> bool:
        """Tell whether both servers are ready and miss nothing."""
        return all(self.readiness(server) == (200, []) for server in self.servers)

    def readiness(self, server: KeystileServer) -> tuple[int, list[str]]:
        """Return the status of /readyz and what it says is degraded; status 0 for no answer."""
        try:
            reply = ask(server.port, "/readyz")
            return reply.status, reply.json().get("degraded", [])
        except (OSError, HTTPException, ValueError):
            return 0, []

    @contextmanager
    def watched(self, *held: Held) -> Iterator[None]:
        """Ask both servers about all of *held*, over and over, while the block runs: the truth judges."""
        over = threading.Event()

        def watch(server: KeystileServer, one: Held) -> None:
            while not over.wait(0.1):
                self.ask(one, server)

        threads = [threading.Thread(target=watch, args=(server, one)) for server in self.servers for one in held]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def forget(self) -> None:
        """Judge only what comes from now on."""
        self.truth.wrong.clear()
        self.cuts.clear()

    def check(self) -> None:
        """Fail if any answer was wrong, or a request got none."""
        wrong = [(wrong.why, wrong.answer.status) for wrong in self.truth.wrong]
        assert not wrong, (wrong, self.unanswered())
        assert not self.cuts

    def mend(self) -> None:
        """Make every wire, server and setting whole again, and wait until both servers say so."""
        for wire in self.wires:
            wire.resume()
        self.world.mend()
        if self.second.has_ended():
            self.second.restart()
        self.second.resume()
        assert wait_until(self.is_whole, 20), [self.readiness(server) for server in self.servers]


class NotDoneError(Exception):
    """The command line refused or was killed: whether the key died is unknown."""

    @classmethod
    def unless(cls, done: object) -> None:
        """Raise it where nothing was done."""
        if not done:
            raise cls


@contextmanager
def faulty_world(keycloak: KeycloakServer, redis: RedisServer, folder: Path, **more: str) -> Iterator[FaultyWorld]:
    """Serve a fresh realm through wires."""
    with ExitStack() as stack:
        keycloak_wire, first, second = (
            stack.enter_context(Proxy(port)) for port in (keycloak.port, redis.port, redis.port)
        )
        world = KeycloakWorld.prepare(keycloak, redis, folder, make_environment(folder) | more)
        wired = {"KEYSTILE_KEYCLOAK_URL": f"http://{LOOPBACK}:{keycloak_wire.port}"}
        environments = [wired | {"KEYSTILE_REDIS_URL": _through(wire, redis)} for wire in (first, second)]
        world.environment.update(environments[0])
        world.server.environment.update(environments[0])
        other = KeystileServer(world.environment | environments[1], log_path=folder / "second.log")
        stack.enter_context(world.server)
        stack.enter_context(other)
        yield FaultyWorld(world, other, keycloak_wire, (first, second))


def _through(wire: Proxy, redis: RedisServer) -> str:
    return redis.url.replace(f":{redis.port}/", f":{wire.port}/")
