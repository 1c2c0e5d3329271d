"""What is true of keys, secrets and JWTs: dictionaries, and nothing of how Keystile does it.

Moments are epoch seconds. Nothing here knows of generations, kills, floors or verdicts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import floor, inf

JWT_LIFE = 300


@dataclass
class Key:
    """A key as it should be stored. *audiences* is how many it may ask for; *tokens*: at most, if any."""

    owner: str
    name: str
    scopes: frozenset[str]
    expires: float
    status: str = "active"
    audiences: int = 0
    tokens: float = inf


@dataclass
class Secret:
    """Good while its key is, but not from *until* on."""

    key_id: str
    until: float = inf


@dataclass
class Jwt:
    """Good while its secret is, but not from *until* on, nor once it is *dead*."""

    secret: str
    scopes: frozenset[str]
    until: float
    dead: bool = False


@dataclass
class Model:
    """Everything that was ever handed out, by its text, and every key by its id."""

    most_live: int
    keys: dict[str, Key] = field(default_factory=dict)
    secrets: dict[str, Secret] = field(default_factory=dict)
    jwts: dict[str, Jwt] = field(default_factory=dict)

    def is_live(self, key_id: str, now: float) -> bool:
        """Tell whether the key may be changed: revoked and expired are final."""
        key = self.keys[key_id]
        return key.status != "revoked" and now < key.expires

    def live_of(self, owner: str, now: float) -> int:
        """Count the live keys of an owner."""
        return sum(key.owner == owner and self.is_live(key_id, now) for key_id, key in self.keys.items())

    def scopes_by_secret(self, text: str, now: float) -> frozenset[str] | None:
        """Return what the holder of a secret may do now, None if nothing."""
        secret = self.secrets[text]
        key = self.keys[secret.key_id]
        good = key.status == "active" and now < min(key.expires, secret.until)
        return key.scopes if good else None

    def scopes_by_jwt(self, text: str, now: float) -> frozenset[str] | None:
        """Return what the holder of a JWT may do now, None if nothing."""
        jwt = self.jwts[text]
        good = not jwt.dead and now < jwt.until and self.scopes_by_secret(jwt.secret, now) is not None
        return jwt.scopes if good else None

    def secrets_of(self, key_id: str) -> list[str]:
        """Return every secret the key ever had, the present one last."""
        return [text for text, secret in self.secrets.items() if secret.key_id == key_id]

    def issued(self, key_id: str, secret: str, key: Key) -> None:
        """Note a new key and its secret."""
        self.keys[key_id] = key
        self.secrets[secret] = Secret(key_id)

    def minted(self, secret: str, jwt: str, now: float) -> None:
        """Note a JWT that was made for *secret*: it outlives neither that nor the key."""
        held = self.secrets[secret]
        key = self.keys[held.key_id]
        until = floor(min(now + JWT_LIFE, held.until, key.expires))
        self.jwts[jwt] = Jwt(secret, key.scopes, until)

    def stopped(self, key_id: str, status: str) -> None:
        """Note that a key is suspended, or revoked for ever: its JWTs are dead, whatever becomes of it."""
        if self.keys[key_id].status != "revoked":
            self.keys[key_id].status = status
            self.kill_jwts(key_id)

    def resumed(self, key_id: str) -> None:
        """Note that a key is active again."""
        self.keys[key_id].status = "active"

    def rotated(self, key_id: str, secret: str, grace: float, now: float) -> None:
        """Note a new secret: the one before is good for the grace, those before that no longer."""
        *ended, replaced = self.secrets_of(key_id)
        for text in ended:
            self.secrets[text].until = min(self.secrets[text].until, now)
        self.secrets[replaced].until = min(floor(now + grace), self.keys[key_id].expires) if grace else now
        self.secrets[secret] = Secret(key_id)

    def changed(self, key_id: str, wanted: Key) -> None:
        """Note what a key may do now: if that is less in any way than before, its JWTs are dead."""
        before = self.keys[key_id]
        confined = wanted.audiences < before.audiences
        lost = before.scopes - wanted.scopes or wanted.tokens < before.tokens or wanted.expires < before.expires
        if confined or lost:
            self.kill_jwts(key_id)
        self.keys[key_id] = wanted

    def kill_jwts(self, key_id: str) -> None:
        """End every JWT the key has."""
        for jwt in self.jwts.values():
            jwt.dead = jwt.dead or self.secrets[jwt.secret].key_id == key_id
