"""The keys and JWTs of the soak, live and dead, each with its requests prepared; `Truth` knows what they are."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from keystile.keys import KeyFormat
from keystile.peppers import Peppers, new_pepper
from soak.asking import token_request, verify_request
from truth import Answer, Jwt, Key, Owner, Stranger, Truth
from truth.answers import claims_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from soak.wire import Reply
    from truth.lives import Credential

_JWTS_KEPT = 4  # of one key
_KEPT_SHARE = 0.05  # of the JWTs handed out: low enough that some expire while they are presented
_DEAD_SHARE = 1 / 25  # of the keys presented
_GRAVEYARD = 40  # dead keys that go on being presented
_ALLOWED_DELAY = 0.05  # seconds, between the two clocks being read


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, what is presented in it, and at which door."""

    credential: Credential
    door: str
    request: bytes


@dataclass(eq=False, slots=True)
class Holder:
    """A key as its holder has it: text, address, the JWTs it was given."""

    key: Key
    owner_id: str
    expires_at: float
    verify: Ask
    token: Ask
    address: str
    jwts: deque[Ask] = field(default_factory=lambda: deque(maxlen=_JWTS_KEPT))


class Population:
    """Everybody's credentials. Picked by the load, changed by the operator's thread."""

    def __init__(self, truth: Truth, pepper: str) -> None:
        self.truth = truth
        self.live: list[Holder] = []
        self.dead: deque[Holder] = deque(maxlen=_GRAVEYARD)
        self._format = KeyFormat(Peppers.parse(pepper))
        self._owners: dict[str, Owner] = {}
        self._lock = threading.Lock()
        self._forged = [*_forged(), *_malformed()]
        self._unknown = deque(self._new_unknown() for _ in range(20))

    def add(self, document: dict[str, Any]) -> Holder:
        """Take in a key that was just issued."""
        username, owner_id = document["owner"], document["owner_id"]
        owner = self._owners.setdefault(owner_id, self.truth.owner(username, owner_id))
        key = self.truth.key(document["key_id"], owner)
        address = f"198.51.100.{len(self._owners)}"
        holder = Holder(
            key,
            owner_id,
            document["expires_at"],
            Ask(key, "verify", verify_request(document["api_key"], address)),
            Ask(key, "token", token_request(key.key_id, document["api_key"], address)),
            address,
        )
        self.truth.expires(key, document["expires_at"])
        with self._lock:
            self.live = [*self.live, holder]
        return holder

    def bury(self, *holders: Holder) -> None:
        """Keys that are dead for good are presented less and less often, and at last forgotten."""
        with self._lock:
            self.live = [each for each in self.live if each not in holders]
            self.dead.extend(holders)

    def of_owner(self, owner_id: str) -> list[Holder]:
        """Return the keys of an owner that are not buried."""
        return [holder for holder in self.live if holder.owner_id == owner_id]

    def owner(self, owner_id: str) -> Owner:
        """Return an owner who has had a key."""
        return self._owners[owner_id]

    def any_key(self) -> Holder:
        """Return a key to present, a dead one now and then."""
        if self.dead and random.random() < _DEAD_SHARE:  # noqa: S311 - no secret
            return random.choice(self.dead)  # noqa: S311
        return random.choice(self.live)  # noqa: S311

    def any_jwt(self) -> Ask:
        """Return the question about a JWT, or about its key while it has none."""
        holder = self.any_key()
        return random.choice(holder.jwts) if holder.jwts else holder.verify  # noqa: S311

    def any_forged(self) -> Ask:
        """Return the question about something malformed or forged."""
        return random.choice(self._forged)  # noqa: S311

    def any_unknown(self) -> Ask:
        """Return the question about a well stamped key that nobody was given, often a new one."""
        self._unknown.append(self._new_unknown())
        self._unknown.popleft()
        return random.choice(self._unknown)  # noqa: S311

    def hear(self, ask: Ask, holder: Holder | None) -> Callable[[Reply], None]:
        """Return what judges the reply to *ask*, and keeps the JWT that *holder* was given."""

        def judge(reply: Reply) -> None:
            headers = reply.headers() if reply.status is not None else {}
            jwt = _jwt_in(ask, reply, headers)
            answer = Answer(ask.credential, ask.door, reply.status, reply.sent, reply.received, headers, jwt)
            self.truth.judge(answer)
            if jwt and holder is not None and (not holder.jwts or random.random() < _KEPT_SHARE):  # noqa: S311
                kept = self.keep(holder, jwt, reply.received)
                # Whoever is given a JWT relies on it: one that is dead already must not be handed out.
                self.truth.judge(Answer(kept.credential, f"from {ask.door}", 200, reply.sent, reply.received))

        return judge

    def keep(self, holder: Holder, jwt: str, received: float) -> Ask:
        """Keep a JWT that *holder* was given, to be presented from now on."""
        known = jwt_lived(jwt, holder.key, received)
        ask = Ask(known, "verify", verify_request(jwt, holder.address))
        holder.jwts.append(ask)
        return ask

    def _new_unknown(self) -> Ask:
        address = f"203.0.113.{random.randrange(4)}"  # noqa: S311
        return Ask(Stranger.UNKNOWN, "verify", verify_request(self._format.generate("live").reveal(), address))


def jwt_lived(jwt: str, key: Key, received: float) -> Jwt:
    """Return the life of a JWT by its own claims: it may have been made earlier than it was asked for."""
    claims = claims_of(jwt)
    ahead = time.monotonic() - time.time()
    made = float(claims.get("iat", 0)) + ahead
    expires_at = float(claims.get("exp", 0)) + ahead
    return Jwt(key, made - _ALLOWED_DELAY, min(received, made + 1 + _ALLOWED_DELAY), expires_at)


def _jwt_in(ask: Ask, reply: Reply, headers: dict[str, str]) -> str:
    if reply.status != 200:
        return ""
    if ask.door == "token":
        return str(json.loads(reply.body).get("access_token", "-"))
    return headers.get("authorization", "-").removeprefix("Bearer ")


def _forged() -> list[Ask]:
    stranger = KeyFormat(Peppers.parse(new_pepper("x")))
    texts = [stranger.generate("live").reveal() for _ in range(20)]
    address = "203.0.113.77"
    asks = [Ask(Stranger.FORGED, "verify", verify_request(text, address)) for text in texts]
    return asks + [Ask(Stranger.FORGED, "token", token_request(text[12:24], text, address)) for text in texts]


def _malformed() -> list[Ask]:
    unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.eyJzdWIiOiJyb290In0."
    texts = ["mcpkey_live_", "x" * 63, "x" * 2_000, unsigned, unsigned + "AAAA", "eyJ.eyJ.eyJ"]
    return [Ask(Stranger.FORGED, "verify", verify_request(text, "203.0.113.78")) for text in texts]
